//! Checkpoints: byte-exact round trips, shards, one report of all mismatches, broken files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use cadft_model::checkpoint::{ChatFormat, load, save};
use cadft_model::{CausalLm, Dtype, ModelError, SaveOptions};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::{tiny, tokens, values};

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// A tiny model, saved in a temporary directory.
fn saved(changes: serde_json::Value, options: &SaveOptions) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("model");
    let config = tiny(changes);
    save(
        &directory,
        &CausalLm::new(&config, &Device::flex(), 21),
        &config,
        options,
    )
    .unwrap();
    (parent, directory)
}

/// Applies `change` to the tensors of `model.safetensors` and writes them back.
fn edit(directory: &Path, change: impl FnOnce(&mut HashMap<String, (Vec<usize>, Vec<f32>)>)) {
    let path = directory.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let mut tensors: HashMap<_, _> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            let (chunks, _) = view.data().as_chunks::<4>();
            let values = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
            (name.to_owned(), (view.shape().to_vec(), values))
        })
        .collect();
    change(&mut tensors);
    let encoded: Vec<_> = tensors
        .into_iter()
        .map(|(name, (shape, values))| {
            (
                name,
                shape,
                values
                    .iter()
                    .flat_map(|value: &f32| value.to_le_bytes())
                    .collect::<Vec<u8>>(),
            )
        })
        .collect();
    let views = encoded.iter().map(|(name, shape, bytes)| {
        (
            name.clone(),
            TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn saving_what_was_loaded_repeats_every_byte() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        for tied in [true, false] {
            let options = SaveOptions {
                dtype,
                ..SaveOptions::default()
            };
            let (parent, first) = saved(json!({"tie_word_embeddings": tied}), &options);
            let checkpoint = load(&first, &Device::flex()).unwrap();
            assert_eq!(checkpoint.model.lm_head.is_some(), !tied);
            let second = parent.path().join("second");
            save(&second, &checkpoint.model, &checkpoint.config, &options).unwrap();
            assert_eq!(files(&first), files(&second));
            assert_eq!(
                fs::read_dir(parent.path()).unwrap().count(),
                2,
                "temporary directories are left"
            );
        }
    }
}

#[test]
fn f32_values_survive_exactly_on_a_training_device() {
    let (_parent, directory) = saved(json!({}), &SaveOptions::default());
    let original = CausalLm::new(&tiny(json!({})), &Device::flex(), 21);
    let loaded = load(&directory, &Device::flex().autodiff()).unwrap().model;
    assert!(loaded.output_weight().is_require_grad());
    assert_eq!(loaded.named_parameters(), original.named_parameters());
    let hidden = |model: &CausalLm| {
        values(
            &model
                .valid()
                .hidden_states(tokens(&[&[1, 2, 3]], &Device::flex())),
        )
    };
    assert_eq!(hidden(&loaded), hidden(&original));
}

#[test]
fn shards_load_as_one_file_does() {
    let (_parent, whole) = saved(json!({}), &SaveOptions::default());
    let options = SaveOptions {
        max_shard_bytes: 4000,
        ..SaveOptions::default()
    };
    let (parent, sharded) = saved(json!({}), &options);
    let names: Vec<_> = files(&sharded).into_keys().collect();
    let count = names.iter().filter(|name| name.starts_with("model-")).count();
    assert!(
        count > 2 && names.contains(&format!("model-00001-of-{count:05}.safetensors")),
        "{names:?}"
    );
    let index: serde_json::Value =
        serde_json::from_slice(&files(&sharded)["model.safetensors.index.json"]).unwrap();
    let checkpoint = load(&sharded, &Device::flex()).unwrap();
    let elements: usize = checkpoint
        .model
        .named_parameters()
        .iter()
        .map(|p| p.shape.iter().product::<usize>())
        .sum();
    assert_eq!(index["metadata"]["total_size"], json!(4 * elements));
    let again = parent.path().join("again");
    save(
        &again,
        &checkpoint.model,
        &checkpoint.config,
        &SaveOptions::default(),
    )
    .unwrap();
    assert_eq!(files(&again), files(&whole));
}

#[test]
fn one_report_lists_everything_that_does_not_fit() {
    let (_parent, directory) = saved(json!({}), &SaveOptions::default());
    edit(&directory, |tensors| {
        tensors.remove("model.norm.weight");
        tensors.insert(
            "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
            (vec![2], vec![1.0, 0.1]),
        );
        tensors.insert("model.extra.weight".into(), (vec![1], vec![1.0]));
        tensors.insert(
            "model.layers.1.mlp.up_proj.weight".into(),
            (vec![2, 3], vec![0.0; 6]),
        );
        tensors.insert("lm_head.weight".into(), (vec![40, 16], vec![0.5; 640]));
    });
    let message = load(&directory, &Device::flex()).unwrap_err().to_string();
    let lines: Vec<_> = message.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  - `model.norm.weight`: missing",
            "  - `model.extra.weight`: unused",
            "  - `model.layers.1.mlp.up_proj.weight`: expected `[24, 16]`, found `[2, 3]` in `model.safetensors`",
            "  - `lm_head.weight`: differs from `model.embed_tokens.weight` although `tie_word_embeddings` is `true`",
        ]
    );
}

#[test]
fn a_repeated_tied_output_weight_is_accepted() {
    let (_parent, directory) = saved(json!({}), &SaveOptions::default());
    edit(&directory, |tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".into(), embedding);
    });
    assert!(load(&directory, &Device::flex()).unwrap().model.lm_head.is_none());
}

#[test]
fn nan_and_infinite_weights_are_named() {
    let (_parent, directory) = saved(json!({}), &SaveOptions::default());
    edit(&directory, |tensors| {
        tensors.get_mut("model.norm.weight").unwrap().1[3] = f32::NAN;
        tensors.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().1[0] = f32::INFINITY;
    });
    let ModelError::Checkpoint { report, .. } = load(&directory, &Device::flex()).unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(
        report.non_finite,
        ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"]
    );
}

#[test]
fn truncated_and_missing_files_are_named() {
    let options = SaveOptions {
        max_shard_bytes: 8000,
        ..SaveOptions::default()
    };
    let (_parent, directory) = saved(json!({}), &options);
    let shard = files(&directory)
        .into_keys()
        .find(|name| name.starts_with("model-00002"))
        .unwrap();
    let path = directory.join(&shard);
    let bytes = fs::read(&path).unwrap();
    for broken in [&bytes[..bytes.len() - 5], &bytes[..20], &[]] {
        fs::write(&path, broken).unwrap();
        let message = load(&directory, &Device::flex()).unwrap_err().to_string();
        assert!(message.contains(&shard), "{message}");
    }
    fs::remove_file(&path).unwrap();
    assert!(
        load(&directory, &Device::flex())
            .unwrap_err()
            .to_string()
            .contains(&shard)
    );
}

#[test]
fn a_directory_without_weights_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    assert!(
        load(directory.path(), &Device::flex())
            .unwrap_err()
            .to_string()
            .contains("config.json")
    );
    fs::write(
        directory.path().join("config.json"),
        crate::tiny_json(json!({})).to_string(),
    )
    .unwrap();
    fs::write(directory.path().join("pytorch_model.bin"), "").unwrap();
    let message = cadft_model::with_hints(&load(directory.path(), &Device::flex()).unwrap_err());
    assert!(
        message.contains("hint: `pytorch_model.bin` is not read"),
        "{message}"
    );
}

#[test]
fn tokenizer_files_are_carried_and_stop_tokens_read() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
    fs::write(
        source.path().join("generation_config.json"),
        r#"{"eos_token_id": [3, 4]}"#,
    )
    .unwrap();
    fs::write(source.path().join("README.md"), "not carried").unwrap();
    let options = SaveOptions {
        carry_from: Some(source.path().to_owned()),
        ..SaveOptions::default()
    };
    let (_parent, directory) = saved(json!({}), &options);
    let names: Vec<_> = files(&directory).into_keys().collect();
    assert_eq!(
        names,
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json"
        ]
    );
    assert_eq!(
        load(&directory, &Device::flex()).unwrap().stop_token_ids(),
        [3, 4]
    );
}

#[test]
fn carried_files_are_made_to_say_how_the_model_talks() {
    let source = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(source.path().join(name), text).unwrap();
    let named = json!([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]);
    write(
        "tokenizer_config.json",
        &json!({"eos_token": "x", "chat_template": named}).to_string(),
    );
    write("generation_config.json", r#"{"eos_token_id": -1, "top_p": 0.5}"#);
    let saved_with = |chat: ChatFormat| {
        let options = SaveOptions {
            carry_from: Some(source.path().to_owned()),
            chat,
            ..SaveOptions::default()
        };
        let (parent, directory) = saved(json!({"eos_token_id": [4, 3]}), &options);
        let read = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(directory.join(name)).unwrap()).unwrap()
        };
        let found = ["config.json", "generation_config.json", "tokenizer_config.json"].map(read);
        drop(parent);
        found
    };
    let stop_token_ids = vec![3, 4];
    let preamble = "{% set v = 1 %}\n".to_owned();
    let [config, generation, tokenizer] = saved_with(ChatFormat {
        stop_token_ids: stop_token_ids.clone(),
        preamble: preamble.clone(),
        ..ChatFormat::default()
    });
    assert_eq!(config["eos_token_id"], json!([4, 3]), "these are named already");
    assert_eq!(generation, json!({"eos_token_id": [3, 4], "top_p": 0.5}));
    fs::create_dir(source.path().join("additional_chat_templates")).unwrap();
    write("additional_chat_templates/tool_use.jinja", "b");
    let tools = |chat: ChatFormat| {
        let options = SaveOptions {
            carry_from: Some(source.path().to_owned()),
            chat,
            ..SaveOptions::default()
        };
        let (_parent, directory) = saved(json!({}), &options);
        // The second save replaces the first.
        save(
            &directory,
            &CausalLm::new(&tiny(json!({})), &Device::flex(), 1),
            &tiny(json!({})),
            &options,
        )
        .unwrap();
        fs::read_to_string(directory.join("additional_chat_templates/tool_use.jinja")).ok()
    };
    assert_eq!(tools(ChatFormat::default()).as_deref(), Some("b"));
    let with_preamble = ChatFormat {
        preamble: preamble.clone(),
        ..ChatFormat::default()
    };
    assert_eq!(tools(with_preamble).as_deref(), Some("{% set v = 1 %}\nb"));
    let with_template = ChatFormat {
        template: Some("c".to_owned()),
        ..ChatFormat::default()
    };
    assert_eq!(tools(with_template), None, "the template is for everything");
    let begun = json!([
        {"name": "default", "template": "{% set v = 1 %}\na"},
        {"name": "tool_use", "template": "{% set v = 1 %}\nb"}
    ]);
    assert_eq!(tokenizer, json!({"eos_token": "x", "chat_template": begun}));
    let [.., tokenizer] = saved_with(ChatFormat {
        template: Some(format!("{preamble}c")),
        eos_token: Some("y".to_owned()),
        preamble,
        stop_token_ids: vec![],
    });
    assert_eq!(
        tokenizer,
        json!({"eos_token": "y", "chat_template": "{% set v = 1 %}\nc"})
    );
}

#[test]
fn a_checkpoint_is_replaced_and_other_files_are_not() {
    let (_parent, directory) = saved(
        json!({}),
        &SaveOptions {
            max_shard_bytes: 4000,
            ..SaveOptions::default()
        },
    );
    let config = tiny(json!({}));
    let model = CausalLm::new(&config, &Device::flex(), 22);
    save(&directory, &model, &config, &SaveOptions::default()).unwrap();
    assert_eq!(
        files(&directory).into_keys().collect::<Vec<_>>(),
        ["config.json", "model.safetensors"]
    );
    fs::write(directory.join("notes.txt"), "mine").unwrap();
    let message = save(&directory, &model, &config, &SaveOptions::default())
        .unwrap_err()
        .to_string();
    assert!(message.contains("`notes.txt`"), "{message}");
    assert!(directory.join("notes.txt").is_file());
}

#[test]
fn values_beyond_f16_are_refused_and_leave_nothing_behind() {
    let parent = tempfile::tempdir().unwrap();
    let config = tiny(json!({"initializer_range": 1e6}));
    let model = CausalLm::new(&config, &Device::flex(), 1);
    let options = SaveOptions {
        dtype: Dtype::F16,
        ..SaveOptions::default()
    };
    let message = save(&parent.path().join("m"), &model, &config, &options)
        .unwrap_err()
        .to_string();
    assert!(message.contains("`model.embed_tokens.weight`"), "{message}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}
