//! GGUF export and import for every family, and the settings that an architecture of llama.cpp cannot express.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use cadft_model::checkpoint::{self, load};
use cadft_model::gguf::{GgufDtype, export_gguf, import_gguf};
use cadft_model::{CausalLm, Dtype, ModelConfig, SaveOptions};
use serde_json::{Value, json};

use crate::{tiny, values};

const YARN: &str =
    r#"{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0}"#;

/// The settings of a tiny model of a family.
fn family(model_type: &str, architecture: &str, changes: Value) -> ModelConfig {
    let mut all = json!({"model_type": model_type, "architectures": [architecture]});
    if let (Some(all), Value::Object(changes)) = (all.as_object_mut(), changes) {
        all.extend(changes);
    }
    tiny(all)
}

fn gemma(changes: Value) -> ModelConfig {
    let mut all = json!({"head_dim": 4, "query_pre_attn_scalar": 4, "num_hidden_layers": 3, "hidden_act": null,
        "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_local_base_freq": 50.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    if let (Some(all), Value::Object(changes)) = (all.as_object_mut(), changes) {
        all.extend(changes);
    }
    family("gemma3_text", "Gemma3ForCausalLM", all)
}

fn families() -> Vec<ModelConfig> {
    let yarn: Value = serde_json::from_str(YARN).unwrap();
    vec![
        tiny(json!({"attention_bias": true, "mlp_bias": true, "tie_word_embeddings": false})),
        family(
            "mistral",
            "MistralForCausalLM",
            json!({"head_dim": 8, "sliding_window": null}),
        ),
        family("qwen2", "Qwen2ForCausalLM", json!({"rope_scaling": yarn})),
        family(
            "qwen3",
            "Qwen3ForCausalLM",
            json!({"head_dim": 8, "rope_scaling": yarn, "tie_word_embeddings": false}),
        ),
        family("smollm3", "SmolLM3ForCausalLM", json!({"num_hidden_layers": 5})),
        gemma(json!({})),
    ]
}

/// A directory with a tokenizer and a random model whose values are exact in f16.
fn directory(parent: &Path, config: &ModelConfig) -> PathBuf {
    let directory = parent.join("model");
    let model = CausalLm::new(config, &Device::flex(), 7);
    let options = SaveOptions {
        dtype: Dtype::F16,
        ..SaveOptions::default()
    };
    checkpoint::save(&directory, &model, config, &options).unwrap();
    let vocab: serde_json::Map<_, _> = (0..40).map(|id| (format!("t{id}"), id.into())).collect();
    let tokenizer = json!({"model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}});
    fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    directory
}

fn hidden(directory: &Path) -> Vec<f32> {
    let model = load(directory, &Device::flex()).unwrap().model;
    let ids = crate::tokens(
        &[&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]],
        &Device::flex(),
    );
    values(&model.hidden_states(ids))
}

#[test]
fn every_family_goes_out_and_comes_back_as_the_same_model() {
    for config in families() {
        let parent = tempfile::tempdir().unwrap();
        let directory = directory(parent.path(), &config);
        let (file, again) = (parent.path().join("model.gguf"), parent.path().join("again"));
        let parameters = export_gguf(&directory, &file, GgufDtype::F16).unwrap();
        assert_eq!(
            import_gguf(&file, &again, Dtype::F32).unwrap().parameters,
            parameters
        );
        assert_eq!(hidden(&again), hidden(&directory), "{}", config.model_type);
    }
}

#[test]
fn a_window_that_llama_cpp_does_not_know_bounds_the_context() {
    let config = family("mistral", "MistralForCausalLM", json!({"sliding_window": 8}));
    let parent = tempfile::tempdir().unwrap();
    let (file, again) = (parent.path().join("model.gguf"), parent.path().join("again"));
    export_gguf(&directory(parent.path(), &config), &file, GgufDtype::F16).unwrap();
    import_gguf(&file, &again, Dtype::F32).unwrap();
    let config = ModelConfig::from_file(&again.join("config.json")).unwrap();
    assert_eq!(config.max_position_embeddings, 8);
    assert!(config.layers.iter().all(|layer| layer.window.is_none()));
}

#[test]
fn what_an_architecture_has_no_place_for_is_refused_by_name() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16});
    let refused: [(ModelConfig, &[&str]); 4] = [
        (
            family(
                "qwen3",
                "Qwen3ForCausalLM",
                json!({"attention_bias": true, "rope_scaling": llama3}),
            ),
            &["attention_bias", "rope_scaling", "`qwen3`"],
        ),
        (
            family(
                "smollm3",
                "SmolLM3ForCausalLM",
                json!({"no_rope_layers": [0, 1], "mlp_bias": true}),
            ),
            &["`no_rope_layers` is `[0, 1]`", "mlp_bias", "`smollm3`"],
        ),
        (
            gemma(json!({"attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 10})),
            &[
                "attn_logit_softcapping",
                "`query_pre_attn_scalar` is `10",
                "`gemma3`",
            ],
        ),
        (
            gemma(json!({"num_hidden_layers": 4, "layer_types":
                ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]})),
            &["`layer_types` is `[1, 0, 0, 1]`"],
        ),
    ];
    for (config, parts) in refused {
        let parent = tempfile::tempdir().unwrap();
        let directory = directory(parent.path(), &config);
        let file = parent.path().join("model.gguf");
        let error = export_gguf(&directory, &file, GgufDtype::F16)
            .unwrap_err()
            .to_string();
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(
            fs::read_dir(parent.path()).unwrap().count(),
            1,
            "nothing is written"
        );
    }
}
