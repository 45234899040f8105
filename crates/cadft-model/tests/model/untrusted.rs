//! Untrusted files: special files, paths outside the directory, and implausible sizes and numbers. Each must cause an
//! error that names its place, quickly and without allocating the requested memory.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use cadft_model::adapter::{self, ADAPTER_CONFIG, AdapterSave};
use cadft_model::checkpoint::{ChatFormat, hint_for, load, save};
use cadft_model::decoder::{FeedForward, Weight};
use cadft_model::gguf::import_gguf;
use cadft_model::{AdapterConfig, CausalLm, Dtype, ModelConfig, SaveOptions};
use serde_json::{Value, json};

use crate::{tiny, tiny_json, values};

const INDEX: &str = "model.safetensors.index.json";

/// A tiny model in a temporary directory, in several files if `max_shard_bytes` is small.
fn saved(max_shard_bytes: usize) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("model");
    let options = SaveOptions {
        max_shard_bytes,
        ..SaveOptions::default()
    };
    save(&directory, &random(), &tiny(json!({})), &options).unwrap();
    (parent, directory)
}

fn random() -> CausalLm {
    CausalLm::new(&tiny(json!({})), &Device::flex(), 21)
}

fn refusal(directory: &Path) -> String {
    cadft_model::with_hints(&load(directory, &Device::flex()).unwrap_err())
}

fn of_config(changes: Value) -> String {
    ModelConfig::from_json(&tiny_json(changes).to_string())
        .unwrap_err()
        .to_string()
}

#[test]
fn sizes_that_no_model_has_are_refused_before_anything_is_made_of_them() {
    for (key, value) in [
        ("num_hidden_layers", 1_000_000_000_u64),
        ("num_hidden_layers", 100_001),
        ("num_hidden_layers", u64::from(u32::MAX)),
        ("vocab_size", u64::from(u32::MAX)),
        ("hidden_size", 1 << 40),
        ("max_position_embeddings", u64::from(u32::MAX)),
        ("head_dim", u64::MAX),
    ] {
        let message = of_config(json!({key: value}));
        assert!(message.contains(&format!("`{key}` is `{value}`")), "{message}");
    }
    let large = json!({"hidden_size": 1 << 26, "vocab_size": 1 << 26, "head_dim": 2});
    assert!(of_config(large).contains("parameters"));
}

#[test]
fn numbers_that_no_model_means_are_refused_by_their_key() {
    let scaling = |key: &str, value: f64| {
        let mut scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
        scaling[key] = json!(value);
        json!({"rope_scaling": scaling})
    };
    for (changes, key) in [
        (json!({"rms_norm_eps": -1.0}), "rms_norm_eps"),
        (json!({"rms_norm_eps": 1e-310}), "rms_norm_eps"),
        (json!({"rope_theta": 1e-320}), "rope_theta"),
        (json!({"rope_theta": 0.5}), "rope_theta"),
        (json!({"initializer_range": -0.1}), "initializer_range"),
        (scaling("factor", 1e308), "rope_scaling.factor"),
        (scaling("beta_fast", 1e308), "rope_scaling.beta_fast"),
        (
            scaling("original_max_position_embeddings", 1e300),
            "original_max_position_embeddings",
        ),
    ] {
        let message = of_config(changes);
        assert!(message.contains(key), "{key}: {message}");
    }
    let twice = r#"{"model_type": "llama", "vocab_size": 8, "vocab_size": 9}"#;
    let message = ModelConfig::from_json(twice).unwrap_err().to_string();
    assert!(message.contains("`vocab_size` appears twice"), "{message}");
}

/// Python writes `Infinity`, which JSON does not have. A key that nothing reads may hold it, and it is written back.
#[test]
fn infinity_as_python_writes_it_is_read_and_written_back() {
    let (_parent, directory) = saved(usize::MAX);
    let path = directory.join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen('{', "{\"time_limit\": [0.0, Infinity], \"note\": NaN,", 1),
    )
    .unwrap();
    let loaded = load(&directory, &Device::flex()).unwrap();
    let again = directory.with_file_name("again");
    save(&again, &loaded.model, &loaded.config, &SaveOptions::default()).unwrap();
    let written = fs::read_to_string(again.join("config.json")).unwrap();
    assert!(
        written.contains("Infinity\n") && written.contains("\"note\": NaN"),
        "{written}"
    );
    fs::write(&path, text.replace("10000.0", "Infinity")).unwrap();
    let message = refusal(&directory);
    assert!(message.contains("`rope_theta` is `Infinity`"), "{message}");
}

#[test]
fn an_error_about_a_long_value_is_short() {
    let types = vec!["x"; 200_000];
    let message = of_config(json!({"layer_types": types, "hidden_act": "y".repeat(100_000)}));
    assert!(
        message.contains("`layer_types`") && message.len() < 2000,
        "{}",
        message.len()
    );
}

#[test]
fn a_name_of_the_index_stays_in_the_directory() {
    let (_parent, directory) = saved(8000);
    let index = directory.join(INDEX);
    let original: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    for name in [
        "../secret.safetensors",
        "/etc/hostname",
        "/dev/zero",
        "a/b.safetensors",
        "..",
        "",
        "x.bin",
    ] {
        let mut changed = original.clone();
        changed["weight_map"]["model.norm.weight"] = json!(name);
        fs::write(&index, changed.to_string()).unwrap();
        let message = refusal(&directory);
        assert!(
            message.contains(INDEX) && message.contains("`weight_map.model.norm.weight`"),
            "{name}: {message}"
        );
    }
}

/// As in transformers: the single file is loaded even if an old index is present.
#[test]
fn the_single_file_is_read_before_an_index() {
    let (_parent, directory) = saved(8000);
    let fresh = CausalLm::new(&tiny(json!({})), &Device::flex(), 4);
    let other = directory.with_file_name("other");
    save(&other, &fresh, &tiny(json!({})), &SaveOptions::default()).unwrap();
    let single = "model.safetensors";
    fs::copy(other.join(single), directory.join(single)).unwrap();
    let expected = values(&fresh.output_weight());
    let found = load(&directory, &Device::flex()).unwrap().model;
    assert_eq!(values(&found.output_weight()), expected);
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("-of-") {
            fs::remove_file(path).unwrap();
        }
    }
    let found = load(&directory, &Device::flex()).unwrap().model;
    assert_eq!(values(&found.output_weight()), expected, "its shards are gone");
}

#[test]
fn what_is_no_model_directory_says_what_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let adapter = parent.path().join("adapter");
    fs::create_dir(&adapter).unwrap();
    fs::write(adapter.join(ADAPTER_CONFIG), "{}").unwrap();
    let message = refusal(&adapter);
    assert!(message.contains("hint: this is an adapter"), "{message}");
    let gguf = parent.path().join("m.gguf");
    fs::write(&gguf, "GGUF").unwrap();
    for path in [&gguf, &parent.path().to_owned()] {
        let hint = hint_for(path).unwrap();
        assert!(hint.contains("convert --gguf"), "{hint}");
    }
}

/// A GGUF file with one number in its metadata and no tensors.
fn gguf(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |value: u32| [&4_u32.to_le_bytes()[..], &value.to_le_bytes()].concat();
    let architecture = [&8_u32.to_le_bytes()[..], &text("llama")].concat();
    let mut entries = vec![
        ("general.architecture", architecture),
        ("llama.embedding_length", number(8)),
        ("llama.attention.head_count", number(2)),
        ("llama.feed_forward_length", number(8)),
        ("llama.context_length", number(8)),
    ];
    entries.retain(|(other, _)| *other != key);
    entries.push((key, [&kind.to_le_bytes()[..], value].concat()));
    bytes.extend((entries.len() as u64).to_le_bytes());
    for (key, value) in entries {
        bytes.extend(text(key));
        bytes.extend(value);
    }
    bytes
}

fn import(bytes: &[u8]) -> String {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("m.gguf");
    fs::write(&path, bytes).unwrap();
    let out = parent.path().join("out");
    let error = import_gguf(&path, &out, Dtype::F32).unwrap_err();
    assert!(!out.exists());
    error.to_string()
}

#[test]
fn a_gguf_file_of_few_bytes_asks_for_little_memory() {
    let blocks = gguf("llama.block_count", 4, &u32::MAX.to_le_bytes());
    let message = import(&blocks);
    assert!(
        message.contains("`llama.block_count` is `4294967295`"),
        "{message}"
    );
    for (kind, count) in [(7_u32, 1_u64 << 40), (5, 1 << 62), (8, u64::MAX), (12, u64::MAX)] {
        let list = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
        let message = import(&gguf("some.list", 9, &list));
        assert!(message.contains("truncated"), "{kind}: {message}");
    }
}

#[test]
fn a_key_of_gguf_metadata_that_appears_twice_is_named() {
    let mut twice = gguf("a.key", 4, &[1, 0, 0, 0]);
    let entry = gguf("a.key", 4, &[2, 0, 0, 0]);
    let tail = entry.len() - (8 + "a.key".len() + 8);
    twice.extend(&entry[tail..]);
    twice[16..24].copy_from_slice(&7_u64.to_le_bytes());
    let message = import(&twice);
    assert!(message.contains("`a.key` appears twice"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_device_is_never_opened() {
    use std::os::unix::fs::symlink;
    let (_parent, directory) = saved(usize::MAX);
    // A device replaces a pipe, which a test cannot create without a program: both are refused because of their kind.
    let model = "model.safetensors";
    for name in ["config.json", model, "generation_config.json"] {
        let path = directory.join(name);
        let kept = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        symlink("/dev/zero", &path).unwrap();
        let message = refusal(&directory);
        assert!(
            message.contains(name) && message.contains("regular file"),
            "{message}"
        );
        fs::remove_file(&path).unwrap();
        if let Some(kept) = kept {
            fs::write(&path, kept).unwrap();
        }
    }
    fs::rename(directory.join(model), directory.join("x.safetensors")).unwrap();
    symlink("/dev/zero", directory.join(INDEX)).unwrap();
    assert!(refusal(&directory).contains("regular file"));
    let out = directory.with_file_name("out");
    let error = import_gguf(Path::new("/dev/zero"), &out, Dtype::F32).unwrap_err();
    assert!(error.to_string().contains("regular file"), "{error}");
}

#[test]
fn a_head_that_equals_its_embedding_in_another_type_is_tied() {
    use safetensors::tensor::TensorView;
    use safetensors::{Dtype as Stored, SafeTensors};
    let (_parent, directory) = saved(usize::MAX);
    let path = directory.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let embedding = tensors.tensor("model.embed_tokens.weight").unwrap();
    // The embedding rounded to bf16, in bf16 and in f32.
    let (chunks, _) = embedding.data().as_chunks::<4>();
    let head: Vec<u8> = chunks.iter().flat_map(|chunk| [chunk[2], chunk[3]]).collect();
    let rounded: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk| [0, 0, chunk[2], chunk[3]])
        .collect();
    let shape = embedding.shape().to_vec();
    let mut views: Vec<(String, TensorView<'_>)> = tensors
        .iter()
        .filter(|(name, _)| *name != "model.embed_tokens.weight")
        .map(|(name, view)| (name.to_owned(), view))
        .collect();
    let view = |dtype, bytes| TensorView::new(dtype, shape.clone(), bytes).unwrap();
    views.push((
        "model.embed_tokens.weight".to_owned(),
        view(Stored::F32, &rounded),
    ));
    views.push(("lm_head.weight".to_owned(), view(Stored::BF16, &head)));
    let written = safetensors::serialize(views.clone(), None).unwrap();
    fs::write(&path, written).unwrap();
    assert!(load(&directory, &Device::flex()).unwrap().model.lm_head.is_none());
    let other: Vec<u8> = head.iter().map(|byte| byte ^ 1).collect();
    views.last_mut().unwrap().1 = view(Stored::BF16, &other);
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    assert!(refusal(&directory).contains("`lm_head.weight`: differs"));
}

#[test]
fn stop_tokens_of_one_file_are_enough() {
    let (_parent, directory) = saved(usize::MAX);
    let path = directory.join("generation_config.json");
    for (ids, expected) in [
        (json!(-1), vec![2]),
        (json!(null), vec![2]),
        (json!([]), vec![2]),
        (json!([3, 5]), vec![3, 5]),
        (json!(7), vec![7]),
    ] {
        fs::write(&path, json!({"eos_token_id": ids}).to_string()).unwrap();
        assert_eq!(
            load(&directory, &Device::flex()).unwrap().stop_token_ids(),
            expected,
            "{ids}"
        );
    }
}

#[test]
fn a_stop_token_that_is_no_id_is_refused_with_its_file() {
    let (_parent, directory) = saved(usize::MAX);
    let path = directory.join("generation_config.json");
    fs::write(&path, r#"{"eos_token_id": [2, "x"]}"#).unwrap();
    let message = refusal(&directory);
    assert!(
        message.contains("generation_config.json") && message.contains("`eos_token_id`"),
        "{message}"
    );
}

#[test]
fn an_adapter_with_magnitudes_over_zero_rows_names_the_layers() {
    use cadft_model::AdapterKind;
    let config = tiny(json!({}));
    let adapter = AdapterConfig {
        kind: AdapterKind::Dora,
        ..AdapterConfig::default()
    };
    let mut model = random();
    let Some(FeedForward::Dense(mlp)) = &mut model.model.layers[1].mlp else {
        panic!("a dense block");
    };
    let weight = &mut mlp.up_proj.as_mut().unwrap().weight;
    let changed = weight.parameter().unwrap().clone();
    *weight = Weight::Dense(changed.map(|weight| weight.slice_fill([3..5, 0..16], 0.0)));
    let targets = adapter.targets(&config).unwrap();
    let adapted = model.with_adapter(&adapter, &targets, 1);
    let problems = adapted.zero_rows();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("`model.layers.1.mlp.up_proj`: 2 rows"),
        "{problems:?}"
    );
    let plain = AdapterConfig::default();
    assert!(random().with_adapter(&plain, &targets, 1).zero_rows().is_empty());
}

#[test]
fn an_adapter_as_a_pickle_says_how_to_convert_it() {
    let config = tiny(json!({}));
    let adapter = AdapterConfig::default();
    let targets = adapter.targets(&config).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("adapter");
    let parts = AdapterSave {
        adapter: &adapter,
        config: &config,
        base_model: "tiny".into(),
        carry_from: None,
        chat: ChatFormat::default(),
    };
    adapter::save(&directory, &random().with_adapter(&adapter, &targets, 1), &parts).unwrap();
    fs::rename(
        directory.join(adapter::ADAPTER_WEIGHTS),
        directory.join("adapter_model.bin"),
    )
    .unwrap();
    let message = cadft_model::with_hints(&adapter::load(&directory, random(), &config).unwrap_err());
    assert!(
        message.contains("pickle") && message.contains("save_pretrained"),
        "{message}"
    );
}
