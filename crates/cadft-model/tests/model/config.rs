//! Reading `config.json`: defaults, both places of the rotary settings, refusals by key and value.

use cadft_model::config::{Activation, KeySource, LayerAttention, Norms, QueryKeyNorm};
use cadft_model::{Dtype, ModelConfig, Positions, RopeScaling, decoder::Rope};
use serde_json::json;

use crate::{tiny, tiny_json};

fn refusal(changes: serde_json::Value) -> String {
    ModelConfig::from_json(&tiny_json(changes).to_string())
        .unwrap_err()
        .to_string()
}

#[test]
fn absent_keys_take_the_defaults_of_transformers() {
    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 32, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 4}"#,
    )
    .unwrap();
    assert_eq!(
        (
            config.num_key_value_heads,
            config.head_dim,
            config.max_position_embeddings
        ),
        (4, 8, 2048)
    );
    assert_eq!(
        (config.rms_norm_eps, config.rope_theta, config.initializer_range),
        (1e-6, 1e4, 0.02)
    );
    assert!(!config.tie_word_embeddings && !config.attention_bias && !config.mlp_bias);
    assert!(config.eos_token_id.is_empty() && config.pad_token_id.is_none());
}

#[test]
fn token_ids_may_be_one_or_several() {
    let config = tiny(json!({"eos_token_id": [2, 5], "bos_token_id": 1, "pad_token_id": -1}));
    assert_eq!(
        (config.eos_token_id, config.bos_token_id, config.pad_token_id),
        (vec![2, 5], vec![1], None)
    );
}

#[test]
fn rope_parameters_are_read_as_rope_scaling_is() {
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let mut parameters = scaling.clone();
    parameters["rope_theta"] = json!(5e5);
    let old = tiny(json!({"rope_theta": 5e5, "rope_scaling": scaling}));
    let new = tiny(json!({"rope_theta": null, "rope_parameters": parameters}));
    assert_eq!(
        (old.rope_theta, old.rope_scaling),
        (new.rope_theta, new.rope_scaling.clone())
    );
    assert_eq!(old.rope_theta, 5e5);
    assert!(matches!(new.rope_scaling, RopeScaling::Llama3 { .. }));
    let legacy = tiny(json!({"rope_scaling": {"type": "linear", "factor": 2.0}}));
    assert_eq!(legacy.rope_scaling, RopeScaling::Linear { factor: 2.0 });
}

#[test]
fn llama3_frequencies_match_transformers() {
    let config = tiny(json!({
        "hidden_size": 512, "head_dim": 128, "rope_theta": 5e5,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}
    }));
    let rope = Rope::new(&config);
    let plain = |pair: f64| 5e5f64.powf(-pair / 64.0);
    let found = rope.frequencies(1);
    assert_eq!(found.len(), 64);
    // Wavelengths below 8192 / 4 are kept, those above 8192 are divided by 8.
    for (pair, expected) in [
        (0, 1.0),
        (10, plain(10.0)),
        (40, plain(40.0) / 8.0),
        (63, plain(63.0) / 8.0),
    ] {
        assert!((found[pair] / expected - 1.0).abs() < 1e-12, "pair {pair}");
    }
    // Pair 30, computed by hand with the rule of `_compute_llama3_parameters`.
    let wavelength = std::f64::consts::TAU / plain(30.0);
    let smooth = (8192.0 / wavelength - 1.0) / 3.0;
    assert!((0.0..1.0).contains(&smooth));
    let expected = (1.0 - smooth) * plain(30.0) / 8.0 + smooth * plain(30.0);
    assert!((found[30] / expected - 1.0).abs() < 1e-12);
}

#[test]
fn unsupported_settings_are_refused_by_key_and_value() {
    for (changes, key, value) in [
        (json!({"model_type": "mamba"}), "`model_type`", "mamba"),
        (json!({"hidden_act": "gelu"}), "`hidden_act`", "gelu"),
        (json!({"attention_dropout": 0.1}), "`attention_dropout`", "`0.1`"),
        (
            json!({"quantization_config": {"bits": 4}}),
            "`quantization_config`",
            "bits",
        ),
        (
            json!({"rope_scaling": {"rope_type": "proportional", "factor": 4.0}}),
            "`rope_scaling.rope_type`",
            "`proportional`",
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, 2.0]}}),
            "`rope_scaling.long_factor`",
            "missing",
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [1.0]}}),
            "`rope_scaling.long_factor`",
            "`2`",
        ),
        (
            json!({"rope_parameters": {"factor": 4.0}}),
            "`rope_parameters.rope_type`",
            "missing",
        ),
        (
            json!({"architectures": ["LlamaForTokenClassification"]}),
            "`architectures`",
            "TokenClassification",
        ),
        (
            json!({"rope_scaling": {"rope_type": "default", "mrope_section": [1]}}),
            "`rope_scaling.mrope_section`",
            "[1]",
        ),
        (json!({"sliding_window": 4}), "`sliding_window`", "`4`"),
        (
            json!({"layer_types": ["full_attention", "sliding_attention"]}),
            "`layer_types`",
            "`llama`",
        ),
        (
            json!({"final_logit_softcapping": 30.0}),
            "`final_logit_softcapping`",
            "`30.0`",
        ),
        (
            json!({"use_bidirectional_attention": true}),
            "`use_bidirectional_attention`",
            "`true`",
        ),
        (json!({"num_attention_heads": 3}), "`num_attention_heads`", "`3`"),
        (json!({"vocab_size": "many"}), "`vocab_size`", "many"),
        (json!({"num_hidden_layers": 0}), "`num_hidden_layers`", "`0`"),
        (json!({"head_dim": 5}), "`head_dim`", "`5`"),
        (json!({"eos_token_id": [1, "x"]}), "`eos_token_id`", "x"),
    ] {
        let message = refusal(changes);
        assert!(message.contains(key) && message.contains(value), "{message}");
    }
}

/// The tiny model, converted to another family.
fn family(model_type: &str, architecture: &str, changes: serde_json::Value) -> Result<ModelConfig, String> {
    let mut object = tiny_json(json!({"model_type": model_type, "architectures": [architecture]}));
    object.as_object_mut().unwrap().remove("tie_word_embeddings");
    if let (Some(object), serde_json::Value::Object(changes)) = (object.as_object_mut(), changes) {
        object.extend(changes);
    }
    ModelConfig::from_json(&object.to_string()).map_err(|error| error.to_string())
}

#[test]
fn families_refuse_what_belongs_to_others() {
    for (model_type, architecture, changes, parts) in [
        (
            "mistral",
            "MistralForCausalLM",
            json!({"attention_bias": true}),
            ["`attention_bias`", "`true`"],
        ),
        (
            "qwen2",
            "Qwen2ForCausalLM",
            json!({"mlp_bias": true}),
            ["`mlp_bias`", "`true`"],
        ),
        (
            "qwen3",
            "Qwen2ForCausalLM",
            json!({}),
            ["`architectures`", "Qwen3ForCausalLM"],
        ),
        (
            "qwen3",
            "Qwen3ForCausalLM",
            json!({"num_key_value_heads": null}),
            ["`num_key_value_heads`", "missing"],
        ),
        (
            "qwen2",
            "Qwen2ForCausalLM",
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            ["`layer_types`", "`sliding_window`"],
        ),
        (
            "qwen3",
            "Qwen3ForCausalLM",
            json!({"layer_types": ["full_attention"]}),
            ["`layer_types`", "`2` entries"],
        ),
        (
            "smollm3",
            "SmolLM3ForCausalLM",
            json!({"no_rope_layers": [1]}),
            ["`no_rope_layers`", "`2` numbers"],
        ),
        (
            "gemma3_text",
            "Gemma3ForCausalLM",
            json!({"query_pre_attn_scalar": 0}),
            ["`query_pre_attn_scalar`", "`0`"],
        ),
        (
            "gemma3_text",
            "Gemma3ForCausalLM",
            json!({"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}}),
            ["`rope_parameters.sliding_attention.rope_type`", "not supported"],
        ),
        (
            "gemma3",
            "Gemma3ForConditionalGeneration",
            json!({}),
            ["`model_type`", "`Gemma3ForCausalLM`"],
        ),
        (
            "mixtral",
            "MixtralForCausalLM",
            json!({}),
            ["`model_type`", "`gemma3_text`"],
        ),
    ] {
        let message = family(model_type, architecture, changes).unwrap_err();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn families_take_the_defaults_of_transformers() {
    let heads = |window, positions, head_dim| LayerAttention {
        window,
        positions,
        head_dim,
        num_key_value_heads: 2,
        keys: KeySource::Own,
    };
    let rotary = |window| heads(window, Positions::Rotary, 4);
    let mistral = family("mistral", "MistralForCausalLM", json!({})).unwrap();
    assert_eq!(mistral.layers, [rotary(Some(4096)); 2]);
    let without = family("mistral", "MistralForCausalLM", json!({"sliding_window": null})).unwrap();
    assert_eq!(without.layers, [rotary(None); 2]);
    let qwen2 = family("qwen2", "Qwen2ForCausalLM", json!({"sliding_window": 8})).unwrap();
    assert_eq!(qwen2.layers, [rotary(None); 2]);
    assert!(qwen2.attention_bias && !qwen2.attention_output_bias && !qwen2.tie_word_embeddings);
    let qwen3 = family("qwen3", "Qwen3ForCausalLM", json!({})).unwrap();
    assert!(qwen3.qk_norm == QueryKeyNorm::Heads && !qwen3.attention_bias);
    assert_eq!((qwen3.head_dim, qwen3.attention_scale), (128, 128f64.powf(-0.5)));
    let smollm3 = family(
        "smollm3",
        "SmolLM3ForCausalLM",
        json!({"num_hidden_layers": 4, "rope_theta": null}),
    )
    .unwrap();
    assert_eq!((smollm3.rope_theta, smollm3.tie_word_embeddings), (2e6, true));
    assert_eq!(smollm3.layers[3].positions, Positions::None);
    assert_eq!(smollm3.layers[..3], [rotary(None); 3]);
    let gemma = family(
        "gemma3_text",
        "Gemma3ForCausalLM",
        json!({"num_hidden_layers": 6, "rope_theta": null}),
    )
    .unwrap();
    let local = heads(Some(4096), Positions::LocalRotary, 256);
    let full = heads(None, Positions::Rotary, 256);
    assert_eq!(gemma.layers, [local, local, local, local, local, full]);
    assert_eq!((gemma.rope_theta, gemma.rope_local_base_freq), (1e6, 1e4));
    assert_eq!((gemma.attention_scale, gemma.embedding_scale), (1.0 / 16.0, 4.0));
    assert_eq!(
        (gemma.hidden_act, gemma.norms),
        (Activation::GeluTanh, Norms::Gemma)
    );
}

#[test]
fn all_problems_come_in_one_report() {
    let message = refusal(json!({"hidden_act": "relu", "hidden_size": null, "attention_dropout": 0.5}));
    for key in ["hidden_act", "hidden_size", "attention_dropout"] {
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn unknown_keys_are_written_back_and_only_the_dtype_changes() {
    let original = tiny_json(json!({"use_cache": true, "note": {"kept": [1, 2.5]}, "rope_theta": 1e4}));
    let config: ModelConfig = serde_json::from_value(original.clone()).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), original);
    let mut expected = original;
    expected["torch_dtype"] = json!("bfloat16");
    let written = serde_json::Value::Object(config.to_object(Dtype::Bf16));
    assert_eq!(written.to_string(), expected.to_string());
}
