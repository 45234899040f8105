//! What Gemma 4 adds to its blocks: which heads they have, whose keys, and what of a file is left out. Its numbers are compared
//! with transformers in `tests/parity`.

use burn::tensor::Device;
use cadft_model::config::KeySource;
use cadft_model::{CausalLm, ModelConfig, SaveOptions, checkpoint, parameters};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::fs;

/// Six blocks, the third and the last with full attention, and the last three share keys.
fn gemma(changes: Value) -> Result<ModelConfig, String> {
    let (full, sliding) = ("full_attention", "sliding_attention");
    let mut object = json!({
        "model_type": "gemma4_text", "architectures": ["Gemma4ForCausalLM"], "vocab_size": 40, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
        "global_head_dim": 10, "layer_types": [sliding, sliding, full, sliding, sliding, full], "num_kv_shared_layers": 3,
        "hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 40, "initializer_range": 0.3
    });
    if let (Some(object), Value::Object(changes)) = (object.as_object_mut(), changes) {
        object.extend(changes);
    }
    ModelConfig::from_json(&object.to_string()).map_err(|error| error.to_string())
}

#[test]
fn the_last_blocks_have_the_keys_of_the_last_one_of_their_kind() {
    let config = gemma(json!({})).unwrap();
    let own = KeySource::Own;
    let expected = [
        own,
        own,
        own,
        KeySource::Block(1),
        KeySource::Block(1),
        KeySource::Block(2),
    ];
    let keys: Vec<_> = config.layers.iter().map(|layer| layer.keys).collect();
    assert_eq!(keys, expected);
    let widths: Vec<_> = config.layers.iter().map(|layer| layer.head_dim).collect();
    assert_eq!(widths, [6, 6, 10, 6, 6, 10]);
    assert_eq!((config.attention_scale, config.embedding_scale), (1.0, 4.0));
    let windows: Vec<_> = config.layers.iter().map(|layer| layer.window).collect();
    assert_eq!(windows[..3], [Some(512), Some(512), None]);
}

#[test]
fn heads_are_those_of_either_form_of_the_file() {
    let one =
        gemma(json!({"attention_k_eq_v": true, "num_global_key_value_heads": 1, "num_kv_shared_layers": 0}));
    let own = json!({"head_dim": 10, "num_key_value_heads": 1});
    let other = gemma(json!({
        "attention_k_eq_v": true, "num_kv_shared_layers": 0, "global_head_dim": 99, "per_layer_config": {"2": own, "5": own}
    }));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.computes_as(&other));
    assert_eq!(one.layers[5].keys, KeySource::OneProjection);
    assert_eq!(
        (
            one.layers[5].num_key_value_heads,
            one.layers[0].num_key_value_heads
        ),
        (1, 2)
    );
    // Without keys from one projection, transformers does not read the number of heads of full attention.
    let unread = gemma(json!({"num_global_key_value_heads": 1})).unwrap();
    assert_eq!(unread.layers[2].num_key_value_heads, 2);
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let rope = json!({"full_attention": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10.0}});
    for (changes, part) in [
        (json!({"enable_moe_block": true}), "`enable_moe_block`"),
        (
            json!({"num_kv_shared_layers": 4}),
            "`num_kv_shared_layers` is `4`",
        ),
        (json!({"num_kv_shared_layers": 7}), "there are `6` blocks"),
        (
            json!({"hidden_size_per_layer_input": 0}),
            "`hidden_size_per_layer_input`",
        ),
        (
            json!({"use_bidirectional_attention": "all"}),
            "`use_bidirectional_attention`",
        ),
        (
            json!({"layer_types": vec!["sliding_attention"; 6]}),
            "the last of `layer_types`",
        ),
        (
            json!({"per_layer_config": {"6": {"head_dim": 4}}}),
            "`per_layer_config.6` is not a block",
        ),
        (
            json!({"per_layer_config": {"2": {"head_dim": 4}}}),
            "different values of `head_dim`",
        ),
        (
            json!({"per_layer_config": {"2": {"sliding_window": 4}}}),
            "`per_layer_config.2.sliding_window`",
        ),
        (json!({"rope_parameters": rope}), "`proportional`"),
        (json!({"rope_theta": 5.0}), "`rope_theta`"),
        (
            json!({"vocab_size_per_layer_input": 39}),
            "`vocab_size_per_layer_input` is `39`",
        ),
        (json!({"num_attention_heads": 3}), "`num_attention_heads`"),
    ] {
        let message = gemma(changes).unwrap_err();
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn matrices_for_keys_that_a_block_does_not_have_are_left_out() {
    let config = gemma(json!({})).unwrap();
    let model = CausalLm::new(&config, &Device::flex(), 3);
    let out = tempfile::tempdir().unwrap();
    let directory = out.path().join("model");
    checkpoint::save(&directory, &model, &config, &SaveOptions::default()).unwrap();
    let path = directory.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let zeros = vec![0; 4 * 12 * 16];
    let mut tensors = file.tensors();
    for name in ["k_proj.weight", "v_proj.weight"] {
        let view = TensorView::new(safetensors::Dtype::F32, vec![12, 16], &zeros).unwrap();
        tensors.push((format!("model.layers.3.self_attn.{name}"), view));
    }
    fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let again = checkpoint::load(&directory, &Device::flex()).unwrap();
    let names = |model: &CausalLm| -> Vec<String> {
        let all = parameters::named_parameters(model);
        all.into_iter().map(|parameter| parameter.name).collect()
    };
    assert_eq!(names(&again.model), names(&model));
}
