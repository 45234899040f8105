//! Files of runs: recipes, checkpoints and their parts, records of rewriting; and answers of models.

use cadft_train::checkpoint::{self, Manifest, TrainingState, tensors};
use cadft_train::config::parse;
use cadft_train::evaluate::{Extractor, normalise};
use cadft_train::rewrite::{read_compatibility, read_log};
use cadft_train::run_files::{COMPATIBILITY, REWRITES};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Component, Path};

const MANIFEST: &str = "training/manifest.json";
const STATE: &str = "training/state.json";
const OPTIMIZER: &str = "training/optimizer.safetensors";

/// Any text as a recipe: the result is a recipe that is equal after writing and reading it, or problems.
pub(super) fn recipe(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(recipe) = parse("r.toml", text, &[]) else {
        return;
    };
    let written = toml::to_string(&recipe).expect("a recipe can be written");
    let again = parse("r.toml", &written, &[]).unwrap_or_else(|error| panic!("{written}\n{error}"));
    assert_eq!(again, recipe);
}

/// Any bytes as the manifest, the state and the tensors of a checkpoint.
pub(super) fn manifest(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("step-000001");
    fs::create_dir_all(path.join("training")).expect("a directory");
    fs::write(directory.path().join("outside"), "b").expect("it is written");
    for (name, content) in [("config.json", "{}"), ("model.safetensors", "a"), (STATE, "{}")] {
        fs::write(path.join(name), content).expect("it is written");
    }
    fs::write(path.join(MANIFEST), bytes).expect("it is written");
    if checkpoint::open(&path).is_ok() {
        names_stay_inside(bytes);
    }
    // Now with a correct manifest, so that the state and the tensors are read.
    fs::write(path.join(STATE), bytes).expect("it is written");
    fs::write(path.join(MANIFEST), manifest_of(&path)).expect("it is written");
    match checkpoint::open(&path) {
        Ok(restored) => {
            let text = serde_json::to_string(&restored.state).expect("a state can be written");
            let again: TrainingState = serde_json::from_str(&text).expect("a state");
            assert_eq!(again, restored.state);
        }
        Err(error) => assert!(error.to_string().contains("state.json"), "{error}"),
    }
    fs::write(path.join(OPTIMIZER), bytes).expect("it is written");
    let all: usize = tensors::read(&path.join(OPTIMIZER))
        .into_iter()
        .flatten()
        .map(|(_, tensor)| tensor.num_elements())
        .sum();
    assert!(all <= bytes.len() / 4, "{all} numbers of {} bytes", bytes.len());
}

fn names_stay_inside(bytes: &[u8]) {
    let manifest: Manifest = serde_json::from_slice(bytes).expect("a manifest");
    let is_normal = |part| matches!(part, Component::Normal(_));
    for name in manifest.files.keys() {
        assert!(Path::new(name).components().all(is_normal), "{name:?}");
    }
}

/// The manifest of the present files.
fn manifest_of(path: &Path) -> String {
    let member = |name: &str| {
        let bytes = fs::read(path.join(name)).expect("it is read");
        let digits: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        json!({"bytes": bytes.len(), "sha256": digits})
    };
    let files = json!({"config.json": member("config.json"), "model.safetensors": member("model.safetensors"),
                       STATE: member(STATE)});
    let text = serde_json::to_string_pretty(&json!({"format_version": 1, "files": files}));
    text.expect("JSON") + "\n"
}

/// Any bytes as a log of rewriting: the records are equal after writing and reading them.
pub(super) fn records(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, table) = (
        directory.path().join(REWRITES),
        directory.path().join(COMPATIBILITY),
    );
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).expect("it is written");
    write(&log, bytes);
    write(&table, bytes);
    if let Ok(records) = read_log(&log) {
        write(&log, lines(&records).as_bytes());
        assert_eq!(read_log(&log).expect("records"), records);
    }
    if let Ok(samples) = read_compatibility(directory.path()) {
        write(&table, lines(&samples).as_bytes());
        assert_eq!(read_compatibility(directory.path()).expect("samples"), samples);
    }
}

fn lines<T: serde::Serialize>(values: &[T]) -> String {
    let line = |value| serde_json::to_string(value).expect("JSON") + "\n";
    values.iter().map(line).collect()
}

/// Any text as an answer: the extracted answer is not much longer than the text.
pub(super) fn answer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let is_short = |answer: &str| assert!(answer.len() <= 4 * text.len() + 400, "{} bytes", answer.len());
    is_short(&normalise(&text));
    for extractor in [Extractor::Number, Extractor::Boxed] {
        let extract = extractor.compile().expect("it has no pattern");
        if let Some(answer) = extract.answer(&text) {
            is_short(&answer);
        }
    }
}
