//! Properties of the model crate, checked on tiny models on the Flex backend.
#![cfg(feature = "flex")]

mod adapter;
mod by_block;
mod checkpoint;
mod config;
mod decoder;
mod delta;
mod experts;
mod fused;
mod generate;
mod gguf;
mod gguf_families;
mod mutations;
mod sampling;
mod sentence_piece;
mod untrusted;

use burn::tensor::{Device, Int, Tensor, TensorData};
use cadft_model::ModelConfig;
use cadft_model::decoder::{Attention, Block, FeedForward, Mlp};
use serde_json::{Value, json};

/// The JSON of a tiny model, with `changes` applied.
fn tiny_json(changes: Value) -> Value {
    let mut object = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 40, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "initializer_range": 0.3, "torch_dtype": "float32", "eos_token_id": 2
    });
    if let (Some(object), Value::Object(changes)) = (object.as_object_mut(), changes) {
        object.extend(changes);
    }
    object
}

fn tiny(changes: Value) -> ModelConfig {
    serde_json::from_value(tiny_json(changes)).unwrap()
}

fn tokens(rows: &[&[i64]], device: &Device) -> Tensor<2, Int> {
    let width = rows[0].len();
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), width]), device)
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

fn attention(layer: &Block) -> &Attention {
    layer.self_attn.as_ref().expect("full attention")
}

fn dense(layer: &Block) -> &Mlp {
    match &layer.mlp {
        Some(FeedForward::Dense(mlp)) => mlp,
        _ => panic!("a dense block"),
    }
}

/// Asserts that the values agree within the absolute `tolerance`.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(
        worst <= tolerance,
        "largest difference {worst:e} above {tolerance:e}"
    );
}
