//! Every key of `config.json` and `adapter_config.json`, changed alone: it has the same effect as in transformers and
//! PEFT, or is refused by name (`python/config_keys.py`, `python/foreign_adapters.py`).

use burn::tensor::{Device, Int, Tensor, TensorData};
use cadft_model::adapter::{self, ADAPTER_CONFIG};
use cadft_model::config::WITHOUT_EFFECT;
use cadft_model::{CausalLm, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::fixture;
use serde_json::{Map, Value};
use std::path::Path;

/// Largest difference of equal logits: the fixtures have six digits.
const SAME: f64 = 2e-5;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON")
}

/// A copy of a directory in which one key of a file has the row's value.
fn changed(source: &Path, file: &str, row: &Value) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(source).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    let Value::Object(mut object) = json(&source.join(file)) else {
        panic!("{file} holds no object");
    };
    match (row["key"].as_str(), row["value"].as_str()) {
        (Some(key), Some("absent")) => {
            object.shift_remove(key);
        }
        (Some(key), _) => {
            object.insert(key.to_owned(), row["value"].clone());
        }
        (None, _) => {}
    }
    std::fs::write(copy.path().join(file), Value::Object(object).to_string()).expect("it is written");
    copy
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect()
}

fn tokens(ids: &Value, device: &Device) -> Tensor<2, Int> {
    let rows: Vec<Vec<i64>> = serde_json::from_value(ids.clone()).expect("token ids");
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), device)
}

/// The logits at the places of a fixture row: positions, each with the number of tokens to compare.
fn logits_at(model: &CausalLm, ids: Tensor<2, Int>, places: &[(usize, usize)]) -> Vec<f64> {
    let logits = model.logits(model.hidden_states(ids));
    let [_, _, vocab] = logits.dims();
    let all = values(logits);
    places
        .iter()
        .flat_map(|&(position, count)| all[position * vocab..position * vocab + count].to_vec())
        .collect()
}

fn is_same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= SAME)
}

/// The problem with a changed key; `None` if the result is the oracle's, or an error names the key. If the oracle
/// refuses the key, the result may also be unchanged.
fn verdict(row: &Value, base: &[f64], ours: Result<Vec<f64>, String>) -> Option<String> {
    let key = row["key"].as_str().unwrap_or_default();
    // These keys determine the tensors: an error names the tensors that do not fit.
    let of_tensors = [
        "attention_bias",
        "attention_k_eq_v",
        "decoder_sparse_step",
        "full_attention_interval",
        "hidden_size_per_layer_input",
        "linear_conv_kernel_dim",
        "linear_key_head_dim",
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_value_head_dim",
        "mlp_bias",
        "mlp_only_layers",
        "moe_intermediate_size",
        "num_experts",
        "num_hidden_layers",
        "num_local_experts",
        "shared_intermediate_size",
        "tie_word_embeddings",
    ];
    let wrong = match ours {
        Err(error) if of_tensors.contains(&key) && error.contains("do not fit its `config.json`") => {
            return None;
        }
        Err(error) if error.contains(&format!("`{key}")) || error.contains(&format!(".{key}")) => {
            return None;
        }
        Err(error) if row.get("error").is_some() => {
            return (error.is_empty()).then(|| format!("{row}: an empty error"));
        }
        Err(error) => format!("is refused without its name: {error}"),
        Ok(ours) if row.get("error").is_some() => {
            if is_same(&ours, base) {
                return None;
            }
            "is refused by the oracle and changes something here".to_owned()
        }
        Ok(ours) if is_same(&ours, &numbers(&row["logits"])) => return None,
        Ok(ours) => format!("gives {ours:?}"),
    };
    Some(format!("{row}: {wrong}"))
}

#[test]
fn a_key_of_a_model_means_what_transformers_takes_it_for_or_is_refused() {
    let device = Device::flex();
    let mut wrong = vec![];
    for model in json(&fixture("config-keys.json")).as_array().expect("a list") {
        let name = model["model"].as_str().expect("a name");
        let rows = model["rows"].as_array().expect("rows");
        let base = numbers(&rows[0]["logits"]);
        for row in rows {
            let copy = changed(&fixture(name), "config.json", row);
            let ours = checkpoint::load(copy.path(), &device)
                .map(|loaded| {
                    logits_at(
                        &loaded.model,
                        tokens(&model["input_ids"], &device),
                        &[(10, 8), (4, 4)],
                    )
                })
                .map_err(|error| error.to_string());
            if row["key"].is_null() {
                assert!(ours.is_ok_and(|ours| is_same(&ours, &base)), "{name} as it is");
            } else {
                wrong.extend(verdict(row, &base, ours).map(|wrong| format!("{name}: {wrong}")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} keys are not taken right:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_key_of_an_adapter_means_what_peft_takes_it_for_or_is_refused() {
    let device = Device::flex();
    let document = json(&fixture("adapter-keys.json"));
    let rows = document["rows"].as_array().expect("rows");
    let base = numbers(&rows[0]["logits"]);
    let mut wrong = vec![];
    for row in rows {
        let copy = changed(&fixture("tiny-lora"), ADAPTER_CONFIG, row);
        let loaded = checkpoint::load(&fixture("tiny-llama-tied"), &device).expect("the base");
        let ours = adapter::load(copy.path(), loaded.model, &loaded.config)
            .map(|adapted| {
                logits_at(
                    &adapted.model,
                    tokens(&document["input_ids"], &device),
                    &[(10, 12)],
                )
            })
            .map_err(|error| error.to_string());
        if row["key"].is_null() {
            assert!(
                ours.is_ok_and(|ours| is_same(&ours, &base)),
                "the adapter as it is"
            );
        } else {
            wrong.extend(verdict(row, &base, ours));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} keys are not taken right:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Every key that transformers reads must be read, refused, or in the list of keys without effect.
#[test]
fn every_field_of_transformers_is_read_refused_or_listed_with_a_reason() {
    for model in json(&fixture("config-keys.json")).as_array().expect("a list") {
        let (name, rows) = (model["model"].as_str().expect("a name"), &model["rows"]);
        let changes = |key: &str| {
            let rows = rows.as_array().into_iter().flatten();
            rows.filter(|row| row["key"] == key).count()
        };
        let mut missing: Map<String, Value> = Map::new();
        for field in model["fields"].as_array().expect("fields") {
            let field = field.as_str().expect("a name");
            let is_listed = WITHOUT_EFFECT
                .iter()
                .any(|(key, reason)| *key == field && !reason.is_empty());
            if !is_listed && changes(field) == 0 {
                missing.insert(field.to_owned(), Value::Null);
            }
        }
        let known = ["architectures", "model_type"];
        missing.retain(|field, _| !known.contains(&field.as_str()));
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}
