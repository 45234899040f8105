//! Models with experts: what is refused by name, which layers an adapter may update, and generation.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use cadft_model::adapter::{self, ADAPTER_CONFIG, AdapterSave};
use cadft_model::checkpoint::ChatFormat;
use cadft_model::generate::{generate, ignore_tokens};
use cadft_model::gguf::{GgufDtype, export_gguf};
use cadft_model::parameters::{expected_parameters, named_parameters};
use cadft_model::{
    AdapterConfig, BaseFormat, CausalLm, FrozenBase, GenerateOptions, ModelConfig, Request, SaveOptions,
    TargetModules, checkpoint, flops,
};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::tiny_json;

/// A Qwen3 with a dense block and a sparse one.
fn qwen(changes: Value) -> Value {
    let mut object = tiny_json(json!({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 5,
        "num_experts_per_tok": 2, "moe_intermediate_size": 8, "norm_topk_prob": true, "mlp_only_layers": [0]
    }));
    if let (Some(object), Value::Object(changes)) = (object.as_object_mut(), changes) {
        object.extend(changes);
    }
    object
}

fn config(changes: Value) -> ModelConfig {
    serde_json::from_value(qwen(changes)).unwrap()
}

#[track_caller]
fn assert_refused(changes: Value, name: &str) {
    let error = ModelConfig::from_json(&qwen(changes).to_string())
        .unwrap_err()
        .to_string();
    assert!(error.contains(&format!("`{name}`")), "{error}");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    assert_refused(json!({"output_router_logits": true}), "output_router_logits");
    assert_refused(json!({"num_experts_per_tok": 6}), "num_experts_per_tok");
    assert_refused(json!({"num_experts_per_tok": 0}), "num_experts_per_tok");
    assert_refused(
        json!({"num_experts": 100_001, "num_hidden_layers": 2}),
        "num_experts",
    );
    assert_refused(json!({"num_local_experts": 4}), "num_local_experts");
    assert_refused(json!({"mlp_only_layers": 0}), "mlp_only_layers");
    assert_refused(json!({"decoder_sparse_step": 0}), "decoder_sparse_step");
    let huge = json!({"num_experts": 40_000, "moe_intermediate_size": 60_000_000, "hidden_size": 60_000_000});
    let error = ModelConfig::from_json(&qwen(huge).to_string())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than any model has"), "{error}");
    let both = config(json!({"num_local_experts": 5}));
    assert_eq!(both.experts, config(json!({})).experts);
}

#[test]
fn blocks_are_dense_by_step_and_by_list() {
    let sparse = |changes: Value| config(changes).experts.map(|experts| experts.sparse);
    let four = json!({"num_hidden_layers": 4, "decoder_sparse_step": 2, "mlp_only_layers": [3]});
    assert_eq!(sparse(four), Some(vec![false, true, false, false]));
    assert_eq!(sparse(json!({"mlp_only_layers": null})), Some(vec![true; 2]));
    assert_eq!(sparse(json!({"mlp_only_layers": [0, 1]})), None);
    assert_eq!(sparse(json!({"num_experts": 0})), None);
}

#[test]
fn experts_are_packed_and_routers_are_not() {
    let config = config(json!({"tie_word_embeddings": false}));
    let base = FrozenBase {
        format: BaseFormat::Int8.packed().unwrap(),
        trained: vec![],
    };
    let model = CausalLm::random_on_base(&config, &Device::flex(), Some(&base), 1);
    let names = |model: &CausalLm| {
        let parameters = named_parameters(model).into_iter();
        parameters.map(|parameter| parameter.name).collect::<Vec<_>>()
    };
    let own = names(&model);
    assert!(own.contains(&"model.layers.1.mlp.gate.weight".to_owned()));
    assert!(!own.iter().any(|name| name.ends_with("_proj.weight")), "{own:?}");
    // A merged model has all of them.
    let expected: Vec<String> = expected_parameters(&config)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names(&model.merge_adapter()), expected);
}

#[test]
fn all_experts_are_held_and_those_of_a_token_multiply() {
    let config = config(json!({"tie_word_embeddings": false}));
    let of_experts: usize = expected_parameters(&config)
        .iter()
        .filter(|(name, _)| name.contains(".experts."))
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    assert_eq!(of_experts, 5 * 3 * 16 * 8);
    // Per block: 2 · 16 · 16 of queries and output, 2 · 16 · 8 of keys and values.
    let attention = 2 * (2 * 16 * 16 + 2 * 16 * 8);
    let feed_forward = 3 * 16 * 24 + 5 * 16 + 2 * 3 * 16 * 8;
    let products = 2.0 * f64::from(attention + feed_forward + 40 * 16);
    let scores = 4.0 * f64::from(2 * 16);
    assert!((flops::forward(&config, 1) - products - scores).abs() < 1e-9);
}

#[test]
fn adapters_update_attention_only_and_the_router_may_be_saved() {
    let config = config(json!({}));
    let of = |names: &[&str], saved: &[&str]| AdapterConfig {
        target_modules: TargetModules::Names(names.iter().map(|&name| name.to_owned()).collect()),
        modules_to_save: saved.iter().map(|&name| name.to_owned()).collect(),
        ..AdapterConfig::default()
    };
    for name in ["up_proj", "gate", "layers.0.mlp.down_proj", "experts.3.gate_proj"] {
        let problems = of(&[name], &[]).targets(&config).unwrap_err();
        assert!(problems[0].contains(&format!("`{name}` selects")), "{problems:?}");
    }
    let problems = of(&["q_proj"], &["experts.1.up_proj"])
        .targets(&config)
        .unwrap_err();
    assert!(problems[0].contains("`experts.1.up_proj`"), "{problems:?}");
    let all = AdapterConfig::default().targets(&config).unwrap();
    assert_eq!(all.layers.len(), 2 * 4);
    assert!(all.layers.iter().all(|(name, _)| name.contains(".self_attn.")));
    let saved = of(&["q_proj"], &["gate"]).targets(&config).unwrap().saved;
    assert_eq!(saved, ["model.layers.1.mlp.gate"]);
}

#[test]
fn an_adapter_file_that_selects_feed_forward_blocks_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let (config, adapter) = (config(json!({})), AdapterConfig::default());
    let model = || CausalLm::new(&config, &Device::flex(), 7);
    let targets = adapter.targets(&config).unwrap();
    let path = directory.path().join("adapter");
    let parts = AdapterSave {
        adapter: &adapter,
        config: &config,
        base_model: "base".into(),
        carry_from: None,
        chat: ChatFormat::default(),
    };
    adapter::save(&path, &model().with_adapter(&adapter, &targets, 1), &parts).unwrap();
    let load = |target_modules: Value| {
        let file = path.join(ADAPTER_CONFIG);
        let mut object: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        object["target_modules"] = target_modules;
        fs::write(&file, object.to_string()).unwrap();
        adapter::load(&path, model(), &config).map(|_| ())
    };
    load(json!(["q_proj", "k_proj", "v_proj", "o_proj"])).unwrap();
    for wrong in [
        json!("all-linear"),
        json!(["q_proj", "up_proj"]),
        json!(".*experts.*"),
        json!(".*gate"),
    ] {
        let error = load(wrong).unwrap_err().to_string();
        assert!(error.contains("selects the feed-forward blocks"), "{error}");
    }
}

#[test]
fn a_sequence_does_not_depend_on_the_others_of_its_batch() {
    let config = config(json!({"tie_word_embeddings": false}));
    let model = CausalLm::new(&config, &Device::flex(), 3);
    let prompts = [
        vec![3, 1, 4],
        vec![1, 5, 9, 2, 6, 5, 3],
        vec![35],
        vec![8, 9, 7, 9],
    ];
    let options = GenerateOptions {
        max_new_tokens: 12,
        ..GenerateOptions::default()
    };
    let run = |prompts: &[Vec<u32>]| {
        generate(
            &model,
            &Request::samples(prompts, 1),
            &options,
            &mut ignore_tokens,
        )
        .unwrap()
    };
    let together = run(&prompts);
    for (prompt, together) in prompts.iter().zip(together) {
        let alone = run(std::slice::from_ref(prompt)).remove(0);
        assert_eq!(
            (alone.token_ids, alone.log_probs),
            (together.token_ids, together.log_probs)
        );
    }
}

/// Writes the weights of a file again, with the experts of block 1 in one tensor for each kind of matrix.
fn fuse(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let experts = |parts: &[&str]| -> Vec<u8> {
        let names = (0..5).flat_map(|expert| {
            parts
                .iter()
                .map(move |part| format!("model.layers.1.mlp.experts.{expert}.{part}.weight"))
        });
        names
            .flat_map(|name| file.tensor(&name).unwrap().data().to_vec())
            .collect()
    };
    let (gate_up, down) = (experts(&["gate_proj", "up_proj"]), experts(&["down_proj"]));
    let fused = [
        (
            "model.layers.1.mlp.experts.gate_up_proj",
            vec![5, 16, 16],
            &gate_up,
        ),
        ("model.layers.1.mlp.experts.down_proj", vec![5, 16, 8], &down),
    ];
    let fused = fused.map(|(name, shape, data)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape, data).unwrap();
        (name.to_owned(), view)
    });
    let others = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| !name.contains(".experts."));
    let all: Vec<_> = others.chain(fused).collect();
    fs::write(path, safetensors::serialize(all, None).unwrap()).unwrap();
}

/// A model with random weights, saved.
fn saved(directory: &Path) -> PathBuf {
    let (config, path) = (config(json!({})), directory.join("model"));
    let model = CausalLm::new(&config, &Device::flex(), 7);
    checkpoint::save(&path, &model, &config, &SaveOptions::default()).unwrap();
    path
}

#[test]
fn experts_in_one_tensor_are_read_and_written_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let (model, options) = (saved(directory.path()), SaveOptions::default());
    let path = model.join("model.safetensors");
    let before = fs::read(&path).unwrap();
    fuse(&path);
    assert!(fs::read(&path).unwrap() != before);
    let loaded = checkpoint::load(&model, &Device::flex()).unwrap();
    checkpoint::save(&model, &loaded.model, &loaded.config, &options).unwrap();
    assert!(fs::read(&path).unwrap() == before, "other bytes");
    // With another number of experts than the configuration's, it is a tensor that the model does not have.
    fuse(&path);
    fs::write(
        model.join("config.json"),
        qwen(json!({"num_experts": 4})).to_string(),
    )
    .unwrap();
    let error = checkpoint::load(&model, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("model.layers.1.mlp.experts.down_proj"), "{error}");
}

#[test]
fn gguf_refuses_it_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let model = saved(directory.path());
    let target = directory.path().join("model.gguf");
    let error = export_gguf(&model, &target, GgufDtype::F16)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`qwen3_moe`"), "{error}");
}
