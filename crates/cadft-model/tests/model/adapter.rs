//! Adapters: a new one changes nothing, dropout is seeded, and files that do not fit are refused in one report.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use cadft_model::adapter::{self, ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterSave};
use cadft_model::checkpoint::ChatFormat;
use cadft_model::checkpoint::save;
use cadft_model::{
    AdapterConfig, AdapterKind, AdapterScaling, CausalLm, ModelConfig, ModelError, SaveOptions, TargetModules,
};
use serde_json::{Value, json};

use crate::{assert_close, tiny, tokens, values};

const IDS: [&[i64]; 2] = [&[1, 5, 9, 30, 2], &[3, 3, 8, 0, 11]];

fn lora() -> AdapterConfig {
    AdapterConfig {
        kind: AdapterKind::Lora,
        rank: 2,
        alpha: 4.0,
        scaling: AdapterScaling::Rank,
        dropout: 0.0,
        target_modules: TargetModules::AllLinear,
        modules_to_save: vec![],
        ..AdapterConfig::default()
    }
}

fn model(config: &ModelConfig, device: &Device) -> CausalLm {
    CausalLm::new(config, device, 7)
}

fn attached(adapter: &AdapterConfig, device: &Device) -> (CausalLm, ModelConfig) {
    let config = tiny(json!({}));
    let targets = adapter.targets(&config).unwrap();
    (model(&config, device).with_adapter(adapter, &targets, 3), config)
}

fn logits(model: &CausalLm) -> Vec<f32> {
    values(&model.logits(model.hidden_states(tokens(&IDS, &model.device()))))
}

#[test]
fn an_untrained_adapter_changes_nothing() {
    let device = Device::flex().autodiff();
    for kind in [AdapterKind::Lora, AdapterKind::Dora] {
        let (adapted, config) = attached(&AdapterConfig { kind, ..lora() }, &device);
        assert_close(&logits(&adapted), &logits(&model(&config, &device)), 2e-6);
    }
}

#[test]
fn scaling_is_by_rank_or_by_its_root() {
    let by_root = AdapterConfig {
        rank: 16,
        scaling: AdapterScaling::RootRank,
        ..lora()
    };
    assert_eq!((lora().scaling(), by_root.scaling()), (2.0, 1.0));
}

#[test]
fn only_the_update_and_saved_modules_are_trained_and_counted() {
    let adapter = AdapterConfig {
        kind: AdapterKind::Dora,
        target_modules: TargetModules::Names(vec!["q_proj".to_owned(), "mlp.down_proj".to_owned()]),
        modules_to_save: vec!["lm_head".to_owned()],
        ..lora()
    };
    let (adapted, config) = attached(&adapter, &Device::flex().autodiff());
    let targets = adapter.targets(&config).unwrap();
    assert_eq!(targets.saved, ["model.embed_tokens"], "the head is the embedding");
    assert_eq!(targets.layers.len(), 4);
    // Two layers: q_proj 16 × 16 and down_proj 16 × 24, rank 2, and magnitudes; the embedding 40 × 16.
    assert_eq!(
        targets.trainable,
        2 * (2 * (16 + 16) + 16 + 2 * (16 + 24) + 16) + 40 * 16
    );
    let trained: usize = trained(&adapted);
    assert_eq!(trained, targets.trainable);
}

/// Number of elements of the parameters that require a gradient.
fn trained(model: &CausalLm) -> usize {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tensor;
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0 += param.dims().iter().product::<usize>();
            }
        }
    }
    let mut count = Count(0);
    model.visit(&mut count);
    count.0
}

#[test]
fn dropout_is_seeded_and_only_in_training() {
    let adapter = AdapterConfig {
        dropout: 0.5,
        ..lora()
    };
    for kind in [AdapterKind::Lora, AdapterKind::Dora] {
        let (adapted, config) = attached(
            &AdapterConfig {
                kind,
                ..adapter.clone()
            },
            &Device::flex().autodiff(),
        );
        // In a new adapter B is 0, so dropout would have no effect; give B values.
        let adapted = perturbed(&adapted, &config, kind);
        let draw = |seed| {
            adapted.seed_dropout(seed);
            logits(&adapted)
        };
        let first = draw(1);
        assert_eq!(first, draw(1), "the same seed draws the same masks");
        assert_ne!(first, draw(2), "another seed draws others");
        adapted.seed_dropout(1);
        let _ = logits(&adapted);
        assert_ne!(first, logits(&adapted), "the next pass draws others");
        let plain = adapted.valid();
        assert_eq!(logits(&plain), logits(&plain), "inference drops nothing");
        assert_close(&logits(&plain), &logits(&adapted.valid().merge_adapter()), 1e-4);
    }
}

/// Saves the adapter, changes `B` in the file, and loads it again.
fn perturbed(adapted: &CausalLm, config: &ModelConfig, kind: AdapterKind) -> CausalLm {
    let adapter = AdapterConfig {
        kind,
        dropout: 0.5,
        ..lora()
    };
    let (_keep, directory) = stored(adapted, &adapter, config);
    edit_weights(&directory, |name, values| {
        if name.ends_with("lora_B.weight") {
            for (index, value) in values.iter_mut().enumerate() {
                *value = 0.3 * (index as f32).sin();
            }
        }
    });
    let device = adapted.device();
    adapter::load(&directory, model(config, &device), config)
        .unwrap()
        .model
}

fn stored(model: &CausalLm, adapter: &AdapterConfig, config: &ModelConfig) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("adapter");
    let parts = AdapterSave {
        adapter,
        config,
        base_model: "tiny".into(),
        carry_from: None,
        chat: ChatFormat::default(),
    };
    adapter::save(&directory, model, &parts).unwrap();
    (parent, directory)
}

/// Applies `change` to the f32 values of every tensor in the adapter's file.
fn edit_weights(directory: &Path, change: impl Fn(&str, &mut Vec<f32>)) {
    let path = directory.join(ADAPTER_WEIGHTS);
    let mut bytes = fs::read(&path).unwrap();
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let place = &mut bytes[8 + header + start..8 + header + end];
        let mut values: Vec<f32> = place
            .as_chunks::<4>()
            .0
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect();
        change(&name, &mut values);
        let encoded: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        place.copy_from_slice(&encoded);
    }
    fs::write(path, bytes).unwrap();
}

fn edit_config(directory: &Path, key: &str, value: Value) {
    let path = directory.join(ADAPTER_CONFIG);
    let mut object: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    object[key] = value;
    fs::write(path, object.to_string()).unwrap();
}

fn refusal(directory: &Path, config: &ModelConfig) -> String {
    let error = adapter::load(directory, model(config, &Device::flex()), config).unwrap_err();
    assert!(!matches!(error, ModelError::Unmerged(_)));
    error.to_string()
}

#[test]
fn what_is_not_supported_is_refused_by_key_and_value() {
    let (adapted, config) = attached(&lora(), &Device::flex());
    for (key, value) in [
        ("peft_type", json!("LOHA")),
        ("bias", json!("all")),
        ("rank_pattern", json!({"(": 4})),
        ("alpha_pattern", json!(["q_proj"])),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("use_dora", json!("no")),
        ("lora_dropout", json!(1.5)),
        ("layers_pattern", json!("layers")),
        ("kasa_config", json!({})),
        ("target_modules", json!(null)),
        ("target_modules", json!(["norm"])),
        ("modules_to_save", json!(["layers"])),
        ("layer_replication", json!([[0, 1]])),
        ("fan_in_fan_out", json!(true)),
        ("some_new_option", json!(3)),
        ("r", json!(0)),
    ] {
        let (_keep, directory) = stored(&adapted, &lora(), &config);
        edit_config(&directory, key, value);
        let report = refusal(&directory, &config);
        assert!(
            report.contains(&format!("`{key}`")) || key == "r" && report.contains("`r`"),
            "{report}"
        );
    }
}

#[test]
fn tensors_that_do_not_fit_are_all_reported() {
    let (adapted, config) = attached(&lora(), &Device::flex());
    let (_keep, directory) = stored(&adapted, &lora(), &config);
    edit_config(&directory, "target_modules", json!(["q_proj"]));
    let report = refusal(&directory, &config);
    assert!(
        report.contains("`model.layers.1.mlp.up_proj.lora_B.weight`: unused"),
        "{report}"
    );
    let (_keep, directory) = stored(&adapted, &lora(), &config);
    edit_config(&directory, "r", json!(3));
    let report = refusal(&directory, &config);
    assert!(report.contains("expected `[3, 16]`, found `[2, 16]`"), "{report}");
    let (_keep, directory) = stored(&adapted, &lora(), &config);
    edit_config(&directory, "use_dora", json!(true));
    let report = refusal(&directory, &config);
    assert!(
        report.contains("`model.layers.0.mlp.up_proj.lora_magnitude_vector`: missing"),
        "{report}"
    );
    let (_keep, directory) = stored(&adapted, &lora(), &config);
    edit_weights(&directory, |name, values| {
        if name.contains("layers.1.self_attn.o_proj.lora_A") {
            values[1] = f32::NAN;
        }
    });
    let report = refusal(&directory, &config);
    assert!(
        report.contains("`model.layers.1.self_attn.o_proj.lora_A.weight`: holds NaN"),
        "{report}"
    );
}

#[test]
fn a_truncated_adapter_names_its_file() {
    let (adapted, config) = attached(&lora(), &Device::flex());
    let (_keep, directory) = stored(&adapted, &lora(), &config);
    let path = directory.join(ADAPTER_WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    let report = refusal(&directory, &config);
    assert!(
        report.contains(ADAPTER_WEIGHTS) && report.contains("truncated"),
        "{report}"
    );
}

#[test]
fn an_output_weight_that_leaves_its_embedding_is_refused() {
    let adapter = AdapterConfig {
        modules_to_save: vec!["embed_tokens".to_owned()],
        ..lora()
    };
    let (adapted, config) = attached(&adapter, &Device::flex());
    let (_keep, directory) = stored(&adapted, &adapter, &config);
    assert!(adapter::load(&directory, model(&config, &Device::flex()), &config).is_ok());
    edit_weights(&directory, |name, values| {
        if name.contains("lm_head") {
            values[0] += 1.0;
        }
    });
    let report = refusal(&directory, &config);
    assert!(
        report.contains("`lm_head.weight`: differs from the embedding"),
        "{report}"
    );
}

#[test]
fn names_that_match_nothing_are_refused_with_those_that_do() {
    let config = tiny(json!({}));
    let adapter = AdapterConfig {
        target_modules: TargetModules::Names(vec!["query".to_owned(), "lm_head".to_owned()]),
        modules_to_save: vec!["nothing".to_owned()],
        ..lora()
    };
    let problems = adapter.targets(&config).unwrap_err().join("\n");
    for part in [
        "`query`",
        "down_proj, gate_proj, k_proj",
        "`lm_head` cannot",
        "`nothing`",
    ] {
        assert!(problems.contains(part), "{part} is not in:\n{problems}");
    }
}

#[test]
fn an_unmerged_model_is_not_written_as_a_checkpoint() {
    let (adapted, config) = attached(&lora(), &Device::flex());
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("model");
    let error = save(&directory, &adapted, &config, &SaveOptions::default()).unwrap_err();
    assert!(matches!(error, ModelError::Unmerged(_)) && !directory.exists());
    save(
        &directory,
        &adapted.merge_adapter(),
        &config,
        &SaveOptions::default(),
    )
    .unwrap();
}
