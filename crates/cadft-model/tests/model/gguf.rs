//! GGUF import: a hand-written file becomes a checkpoint that loads; unknown contents are named.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use cadft_model::checkpoint::load;
use cadft_model::decoder::Block;
use cadft_model::gguf::{GgufDtype, export_gguf, import_gguf};
use cadft_model::{CausalLm, Dtype};
use serde_json::{Value, json};

use crate::{attention, dense, tiny, values};

/// Builds a GGUF file from metadata and f32 tensors.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    metadata: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    pub(crate) fn set(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata
            .push((key.to_owned(), [&kind.to_le_bytes()[..], value].concat()));
    }

    pub(crate) fn unsigned(&mut self, key: &str, value: u32) {
        self.set(key, 4, &value.to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f32) {
        self.set(key, 6, &value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.set(key, 8, &text(value));
    }

    pub(crate) fn list(&mut self, key: &str, kind: u32, items: &[Vec<u8>]) {
        let head = [&kind.to_le_bytes()[..], &(items.len() as u64).to_le_bytes()].concat();
        self.set(key, 9, &[head, items.concat()].concat());
    }

    pub(crate) fn write(&self, path: &Path) {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            out.extend(text(key));
            out.extend(value);
        }
        let mut data = Vec::new();
        for (name, shape, values) in &self.tensors {
            out.extend(text(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape
                .iter()
                .rev()
                .for_each(|&size| out.extend((size as u64).to_le_bytes()));
            out.extend(0u32.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            values.iter().for_each(|value| data.extend(value.to_le_bytes()));
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        fs::write(path, out).unwrap();
    }
}

/// The rows of a matrix in llama.cpp's order: the two halves of each rotated pair are adjacent.
fn interleave(values: &[f32], heads: usize, head_dim: usize, width: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for head in 0..heads {
        for pair in 0..head_dim / 2 {
            for half in 0..2 {
                let row = head * head_dim + half * head_dim / 2 + pair;
                out.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
    }
    out
}

/// A GGUF file with the settings and the tokenizer of the tiny model, but without tensors.
fn tiny_settings() -> Writer {
    let mut file = Writer::default();
    file.text("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 2),
        ("embedding_length", 16),
        ("feed_forward_length", 24),
        ("context_length", 128),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("rope.dimension_count", 4),
    ] {
        file.unsigned(&format!("llama.{key}"), value);
    }
    file.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", "smollm");
    let token = |id| {
        if id == 2 {
            "<|im_end|>".to_owned()
        } else {
            format!("t{id}")
        }
    };
    let tokens: Vec<_> = (0..40).map(|id| text(&token(id))).collect();
    file.list("tokenizer.ggml.tokens", 8, &tokens);
    let kinds: Vec<_> = (0..40)
        .map(|id| i32::to_le_bytes(if id == 2 { 3 } else { 1 }).to_vec())
        .collect();
    file.list("tokenizer.ggml.token_type", 5, &kinds);
    file.list("tokenizer.ggml.merges", 8, &[text("t 1")]);
    file.unsigned("tokenizer.ggml.eos_token_id", 2);
    file.text("tokenizer.chat_template", "{{ messages[0].content }}<|im_end|>");
    file
}

/// The tiny model of these tests as a GGUF file.
pub(crate) fn tiny_gguf(model: &CausalLm) -> Writer {
    let mut file = tiny_settings();
    let layers = model.model.layers.iter().enumerate().flat_map(|(i, layer)| {
        let (attention, mlp) = (attention(layer), dense(layer));
        [
            (
                "attn_q",
                interleave(
                    &values(&attention.q_proj.as_ref().unwrap().weight.val()),
                    4,
                    4,
                    16,
                ),
                vec![16, 16],
            ),
            (
                "attn_k",
                interleave(
                    &values(&attention.k_proj.as_ref().unwrap().weight.val()),
                    2,
                    4,
                    16,
                ),
                vec![8, 16],
            ),
            (
                "attn_v",
                values(&attention.v_proj.as_ref().unwrap().weight.val()),
                vec![8, 16],
            ),
            (
                "attn_output",
                values(&attention.o_proj.weight.val()),
                vec![16, 16],
            ),
            (
                "ffn_gate",
                values(&mlp.gate_proj.as_ref().unwrap().weight.val()),
                vec![24, 16],
            ),
            (
                "ffn_up",
                values(&mlp.up_proj.as_ref().unwrap().weight.val()),
                vec![24, 16],
            ),
            ("ffn_down", values(&mlp.down_proj.weight.val()), vec![16, 24]),
            (
                "attn_norm",
                values(&layer.input_layernorm.as_ref().unwrap().weight.val()),
                vec![16],
            ),
            (
                "ffn_norm",
                values(&layer.post_attention_layernorm.weight.val()),
                vec![16],
            ),
        ]
        .map(|(name, values, shape)| (format!("blk.{i}.{name}.weight"), shape, values))
    });
    file.tensors.extend(layers);
    let embedding = values(&model.output_weight());
    file.tensors.push((
        "token_embd.weight".into(),
        vec![embedding.len() / 16, 16],
        embedding,
    ));
    file.tensors.push((
        "output_norm.weight".into(),
        vec![16],
        values(&model.model.norm.weight.val()),
    ));
    file
}

/// Writes the tiny model of these tests as a GGUF file.
pub(crate) fn write_tiny(path: &Path) {
    tiny_gguf(&original()).write(path);
}

fn import(file: &Writer) -> (tempfile::TempDir, Result<PathBuf, String>) {
    let parent = tempfile::tempdir().unwrap();
    let (path, directory) = (parent.path().join("model.gguf"), parent.path().join("out"));
    file.write(&path);
    let imported = import_gguf(&path, &directory, Dtype::F32);
    assert_eq!(
        fs::read_dir(parent.path()).unwrap().count(),
        1 + usize::from(imported.is_ok())
    );
    (
        parent,
        imported.map(|_| directory).map_err(|error| error.to_string()),
    )
}

fn original() -> CausalLm {
    CausalLm::new(&tiny(json!({})), &Device::flex(), 31)
}

fn read_json(directory: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(directory.join(name)).unwrap()).unwrap()
}

#[test]
fn an_imported_file_loads_as_the_model_it_was_made_from() {
    let (_parent, directory) = import(&tiny_gguf(&original()));
    let checkpoint = load(&directory.unwrap(), &Device::flex()).unwrap();
    assert_eq!(
        (checkpoint.config.rms_norm_eps, checkpoint.config.rope_theta),
        (1e-5, 1e4)
    );
    assert_eq!(checkpoint.stop_token_ids(), [2]);
    let hidden =
        |model: &CausalLm| values(&model.hidden_states(crate::tokens(&[&[3, 1, 4, 1, 5]], &Device::flex())));
    assert_eq!(hidden(&checkpoint.model), hidden(&original()));
}

#[test]
fn the_tokenizer_files_hold_what_the_metadata_says() {
    let (_parent, directory) = import(&tiny_gguf(&original()));
    let directory = directory.unwrap();
    let tokenizer = read_json(&directory, "tokenizer.json");
    assert_eq!(tokenizer["model"]["vocab"]["t7"], 7);
    assert_eq!(tokenizer["model"]["merges"], json!(["t 1"]));
    assert_eq!(tokenizer["added_tokens"][0]["content"], "<|im_end|>");
    assert_eq!(tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
    assert_eq!(tokenizer["post_processor"], Value::Null);
    let config = read_json(&directory, "tokenizer_config.json");
    assert_eq!(config["eos_token"], "<|im_end|>");
    assert_eq!(config["chat_template"], "{{ messages[0].content }}<|im_end|>");
    let special = read_json(&directory, "special_tokens_map.json");
    assert_eq!(special["additional_special_tokens"], json!(["<|im_end|>"]));
    assert_eq!(
        read_json(&directory, "generation_config.json"),
        json!({"eos_token_id": 2})
    );
}

#[test]
fn known_pre_tokenizers_differ_and_unknown_ones_are_named() {
    let mut file = tiny_gguf(&original());
    let mut seen = Vec::new();
    for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2"] {
        file.text("tokenizer.ggml.pre", pre);
        let (_parent, directory) = import(&file);
        seen.push(read_json(&directory.unwrap(), "tokenizer.json")["pre_tokenizer"].to_string());
    }
    seen.dedup();
    assert_eq!(seen.len(), 4);
    file.text("tokenizer.ggml.pre", "kimi-k2");
    let message = import(&file).1.unwrap_err();
    assert!(message.contains("`tokenizer.ggml.pre` is `kimi-k2`"), "{message}");
}

/// The names are llama.cpp's. Each is written as itself, or as the first name with the same split.
#[test]
fn a_tokenizer_of_any_known_pre_tokenizer_is_written_under_a_name_that_splits_alike() {
    for (pre, written) in [
        ("deepseek-llm", "deepseek-llm"),
        ("deepseek-coder", "deepseek-coder"),
        ("deepseek-v3", "deepseek-v3"),
        ("tekken", "tekken"),
        ("gpt-4o", "gpt-4o"),
        ("seed-coder", "seed-coder"),
        ("minicpm5", "minicpm5"),
        ("bailingmoe", "bailingmoe"),
        ("qwen35", "qwen35"),
        ("llama-v3", "llama-bpe"),
        ("falcon3", "llama-bpe"),
        ("dbrx", "smaug-bpe"),
        ("command-r", "smollm"),
        ("olmo", "gpt-2"),
        ("deepseek-r1-qwen", "qwen2"),
    ] {
        let mut file = tiny_gguf(&original());
        file.text("tokenizer.ggml.pre", pre);
        if ["tekken", "llama-v3", "falcon3"].contains(&pre) {
            file.set("tokenizer.ggml.add_bos_token", 7, &[0]);
        }
        let (parent, directory) = import(&file);
        let directory = directory.unwrap_or_else(|error| panic!("{pre}: {error}"));
        let out = parent.path().join("out.gguf");
        export_gguf(&directory, &out, GgufDtype::F16).unwrap();
        let bytes = fs::read(&out).unwrap();
        let entry = [
            text("tokenizer.ggml.pre"),
            8_u32.to_le_bytes().to_vec(),
            text(written),
        ]
        .concat();
        assert!(
            bytes.windows(entry.len()).any(|window| window == entry),
            "{pre} is not written as {written}"
        );
    }
}

#[test]
fn a_beginning_of_sequence_token_is_added_where_the_file_says_so() {
    let mut file = tiny_gguf(&original());
    file.unsigned("tokenizer.ggml.bos_token_id", 2);
    file.set("tokenizer.ggml.add_bos_token", 7, &[1]);
    let (_parent, directory) = import(&file);
    let processor = &read_json(&directory.unwrap(), "tokenizer.json")["post_processor"];
    assert_eq!(processor["single"][0]["SpecialToken"]["id"], "<|im_end|>");
    assert_eq!(processor["special_tokens"]["<|im_end|>"]["ids"], json!([2]));
}

#[test]
fn llama3_divisors_become_the_rule_they_come_from() {
    let mut file = tiny_gguf(&original());
    file.float("llama.rope.freq_base", 1e7);
    // Two pairs: the fast one is kept, the slow one (wavelength above 8192) is divided.
    file.tensors
        .push(("rope_freqs.weight".into(), vec![2], vec![1.0, 8.0]));
    let (_parent, directory) = import(&file);
    let scaling = &read_json(&directory.unwrap(), "config.json")["rope_scaling"];
    assert_eq!(
        (&scaling["rope_type"], &scaling["factor"]),
        (&json!("llama3"), &json!(8.0))
    );
    file.tensors.pop();
    file.tensors
        .push(("rope_freqs.weight".into(), vec![2], vec![3.0, 7.0]));
    assert!(import(&file).1.unwrap_err().contains("rope_freqs.weight"));
}

#[test]
fn every_tensor_with_a_number_that_no_model_can_be_loaded_with_is_named() {
    let mut file = tiny_gguf(&original());
    file.tensors[0].2[3] = f32::NAN;
    file.tensors[1].2[0] = f32::NEG_INFINITY;
    let names = [0, 1].map(|index| file.tensors[index].0.clone());
    let message = import(&file).1.unwrap_err();
    for name in names {
        assert!(
            message.contains(&format!("`{name}` holds NaN or infinite")),
            "{message}"
        );
    }
}

#[test]
fn what_is_missing_left_over_or_unknown_is_named() {
    let mut file = tiny_gguf(&original());
    file.tensors.retain(|(name, _, _)| name != "blk.1.ffn_up.weight");
    file.tensors
        .push(("blk.0.attn_rot.weight".into(), vec![2], vec![0.0; 2]));
    file.tensors[0].1 = vec![8, 32];
    let message = import(&file).1.unwrap_err();
    for part in [
        "`blk.1.ffn_up.weight` is missing",
        "`blk.0.attn_rot.weight`",
        "`[16, 16]`, found `[8, 32]`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let mut file = tiny_gguf(&original());
    file.text("general.architecture", "mamba");
    assert!(import(&file).1.unwrap_err().contains("`mamba`"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("model.gguf");
    tiny_gguf(&original()).write(&path);
    let bytes = fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        fs::write(&path, &bytes[..length]).unwrap();
        let message = import_gguf(&path, &parent.path().join("out"), Dtype::F32)
            .unwrap_err()
            .to_string();
        assert!(message.contains("model.gguf"), "{message}");
    }
}

/// A Hugging Face directory with a tiny model and a tokenizer, created by importing a hand-written file.
fn imported() -> (tempfile::TempDir, PathBuf) {
    let (parent, directory) = import(&tiny_gguf(&original()));
    (parent, directory.unwrap())
}

#[test]
fn an_exported_f16_file_imports_as_the_same_model_and_tokenizer() {
    let (parent, directory) = imported();
    let file = parent.path().join("exported.gguf");
    let parameters = export_gguf(&directory, &file, GgufDtype::F16).unwrap();
    let again = parent.path().join("again");
    let import = import_gguf(&file, &again, Dtype::F16).unwrap();
    assert_eq!(import.parameters, parameters);
    assert_eq!(
        import.tensor_types.keys().copied().collect::<Vec<_>>(),
        ["F16", "F32"]
    );
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let (mut ours, mut theirs) = (read_json(&again, name), read_json(&directory, name));
        for value in [&mut ours, &mut theirs] {
            if let Some(object) = value.as_object_mut() {
                object.remove("torch_dtype");
            }
        }
        assert_eq!(ours, theirs, "{name}");
    }
    let device = Device::flex();
    let (ours, theirs) = (load(&again, &device).unwrap(), load(&directory, &device).unwrap());
    for (ours, theirs) in ours.model.model.layers.iter().zip(&theirs.model.model.layers) {
        let key = |block: &Block| values(&attention(block).k_proj.as_ref().unwrap().weight.val());
        let rounded: Vec<f32> = key(theirs)
            .iter()
            .map(|&value| half::f16::from_f32(value).to_f32())
            .collect();
        assert_eq!(key(ours), rounded);
        assert_eq!(
            values(&ours.input_layernorm.as_ref().unwrap().weight.val()),
            values(&theirs.input_layernorm.as_ref().unwrap().weight.val())
        );
    }
}

#[test]
fn q8_0_keeps_whole_rows_to_within_half_a_step_and_others_as_f16() {
    let config = tiny(json!({"hidden_size": 32, "head_dim": 4, "intermediate_size": 24}));
    let (parent, tokenizer) = imported();
    let directory = parent.path().join("wide");
    let model = CausalLm::new(&config, &Device::flex(), 5);
    let options = cadft_model::SaveOptions {
        carry_from: Some(tokenizer),
        ..Default::default()
    };
    cadft_model::checkpoint::save(&directory, &model, &config, &options).unwrap();
    let (file, again) = (parent.path().join("exported.gguf"), parent.path().join("again"));
    export_gguf(&directory, &file, GgufDtype::Q8_0).unwrap();
    let import = import_gguf(&file, &again, Dtype::F32).unwrap();
    // The two down projections have rows of 24 weights, and the two output projections rows of 16: not whole blocks.
    assert_eq!(import.tensor_types["F16"], 4);
    let found = load(&again, &Device::flex()).unwrap().model;
    let (found, expected) = (
        values(&found.model.embed_tokens.weight.val()),
        values(&model.model.embed_tokens.weight.val()),
    );
    for (found, expected) in found.chunks(32).zip(expected.chunks(32)) {
        let largest = expected.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        crate::assert_close(found, expected, largest / 127.0 * 0.5 + largest / 1024.0);
    }
}

#[test]
fn what_a_gguf_file_cannot_express_is_refused_and_nothing_is_written() {
    let (parent, directory) = imported();
    let file = parent.path().join("exported.gguf");
    let path = directory.join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap().replace("Digits", "Whitespace");
    fs::write(&path, text).unwrap();
    let error = export_gguf(&directory, &file, GgufDtype::F16)
        .unwrap_err()
        .to_string();
    assert!(error.contains("pre-tokenizer"), "{error}");
    let left: Vec<_> = fs::read_dir(parent.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("exported.gguf")),
        "{left:?}"
    );
}
