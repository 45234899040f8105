//! The configuration files of a model as they are published: without paths of this machine.

use crate::hint::UsageError;
use crate::model::is_adapter;
use anyhow::Result;
use cadft_files::{shown, visible_name};
use cadft_model::adapter::ADAPTER_CONFIG;
use cadft_train::hub::push::{Content, Local};
use cadft_train::hub::{RepoKind, Spec};
use serde_json::{Map, Value};
use std::path::Path;

/// The key of an adapter's model, as PEFT writes it.
const BASE: &str = "base_model_name_or_path";
/// The files that other programs write paths into.
const CONFIGURATIONS: [&str; 4] = [
    "config.json",
    ADAPTER_CONFIG,
    "tokenizer_config.json",
    "generation_config.json",
];
/// Largest configuration that is read.
const LARGEST: u64 = 64 << 20;

/// Files to send, and the paths that were left out of them.
pub(super) struct Published {
    pub(super) files: Vec<Local>,
    /// `FILE: KEY`.
    pub(super) removed: Vec<String>,
}

/// The files without paths of this machine. `base` is written into an adapter in place of the model that it names.
pub(super) fn published(files: Vec<Local>, base: Option<&str>) -> Result<Published> {
    let mut published = Published {
        files: vec![],
        removed: vec![],
    };
    for mut file in files {
        if CONFIGURATIONS.contains(&file.name.as_str())
            && let Content::File(path) = &file.content
        {
            let (mut table, path) = (read(path)?, path.clone());
            let mut changed = remove_paths(&mut table);
            published
                .removed
                .extend(changed.iter().map(|key| format!("{}: {key}", file.name)));
            if file.name == ADAPTER_CONFIG && name_base(&mut table, &path, base)? {
                changed.push(BASE.to_owned());
            }
            if !changed.is_empty() {
                let text = serde_json::to_string_pretty(&table)? + "\n";
                file.content = Content::Bytes(text.into_bytes());
            }
        }
        published.files.push(file);
    }
    Ok(published)
}

/// The model that an adapter in `directory` names, if it is one of the Hub.
pub(super) fn named_base(directory: &Path) -> Option<String> {
    if !is_adapter(directory) {
        return None;
    }
    let table = read(&directory.join(ADAPTER_CONFIG)).ok()?;
    let name = table.get(BASE)?.as_str()?;
    match on_the_hub(name) {
        Some(spec) => Some(spec.id),
        None => (!is_local(name)).then(|| name.to_owned()),
    }
}

/// The model of a name that begins with `hf://`. cadft reads such names in adapters; PEFT does not.
fn on_the_hub(name: &str) -> Option<Spec> {
    Spec::parse(name)
        .ok()
        .flatten()
        .filter(|spec| spec.kind == RepoKind::Model)
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let wrong = |what: String| {
        let hint = "give the directory of a model or an adapter as it was saved";
        UsageError::new(format!("`{}` {what}", shown(&path)), hint)
    };
    let bytes =
        cadft_files::read_up_to(path, LARGEST).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    Ok(serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is not a JSON object: {error}")))?)
}

/// Removes keys that say from where something was loaded, if that is a path of this machine. Returns the keys.
///
/// transformers writes `_name_or_path` and `name_or_path`, and older versions `tokenizer_file` and the like.
fn remove_paths(table: &mut Map<String, Value>) -> Vec<String> {
    let is_path = |key: &str, value: &Value| {
        let says_where = key.ends_with("name_or_path") && key != BASE || key.ends_with("_file");
        says_where && value.as_str().is_some_and(is_local)
    };
    let own = table.iter().filter(|(key, value)| is_path(key, value));
    let mut keys: Vec<String> = own.map(|(key, _)| key.clone()).collect();
    for key in &keys {
        let _ = table.shift_remove(key);
    }
    // A part has a configuration of its own, such as `text_config`.
    for (part, value) in table.iter_mut() {
        let of_part = value.as_object_mut().map(remove_paths).unwrap_or_default();
        keys.extend(of_part.into_iter().map(|key| format!("{part}.{key}")));
    }
    keys
}

/// Writes the name of the model into an adapter's configuration. Returns whether that changes it.
fn name_base(table: &mut Map<String, Value>, path: &Path, base: Option<&str>) -> Result<bool> {
    let named = table.get(BASE).and_then(Value::as_str);
    if let (None, Some(spec)) = (base, named.and_then(on_the_hub)) {
        let revision = (spec.revision != "main").then_some(spec.revision);
        let _ = table.insert(BASE.to_owned(), spec.id.into());
        let _ = table.insert("revision".to_owned(), revision.into());
        return Ok(true);
    }
    match (base, named) {
        (Some(base), named) if named != Some(base) => {
            let _ = table.insert(BASE.to_owned(), base.into());
            // The revision was one of the other name.
            if let Some(revision) = table.get_mut("revision") {
                *revision = Value::Null;
            }
            Ok(true)
        }
        (None, Some(named)) if is_local(named) => {
            let message = format!(
                "`{}` names the model `{}`, which is a path of this machine",
                shown(&path),
                visible_name(named)
            );
            let hint = "give its name on the Hub with `--base-model OWNER/NAME`";
            Err(UsageError::new(message, hint).into())
        }
        _ => Ok(false),
    }
}

/// Whether a name is a path here, and not `OWNER/NAME` or, for models of the first days, `NAME`. Whatever exists under it
/// here is a path.
fn is_local(name: &str) -> bool {
    let is_named =
        |name: &str| matches!(Spec::parse(&format!("hf://{name}")), Ok(Some(spec)) if spec.id == name);
    let is_name = is_named(name) || is_named(&format!("o/{name}"));
    name.is_empty() || !is_name || Path::new(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(table) => table,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn names_on_the_hub_are_no_paths() {
        for name in ["o/name", "gpt2", "HuggingFaceTB/SmolLM2-135M"] {
            assert!(!is_local(name), "{name}");
        }
        for name in [
            "",
            "/here/me/model",
            "./model",
            "../m",
            "a/b/c",
            "~/m",
            "C:\\m",
            "C:/m",
            "hf://o/n",
            "src",
            "src/args",
        ] {
            assert!(is_local(name), "{name}");
        }
    }

    #[test]
    fn paths_are_removed_and_nothing_else() {
        let mut given = table(json!({
            "_name_or_path": "/here/me/model",
            "name_or_path": "o/name",
            "tokenizer_file": "/here/me/tokenizer.json",
            "chat_template": "/here/me",
            "eos_token": "/",
            "model_type": "llama",
            "text_config": { "_name_or_path": "/here/me/text", "hidden_size": 8 },
        }));
        assert_eq!(
            remove_paths(&mut given),
            ["_name_or_path", "tokenizer_file", "text_config._name_or_path"]
        );
        let left = json!({
            "name_or_path": "o/name",
            "chat_template": "/here/me",
            "eos_token": "/",
            "model_type": "llama",
            "text_config": { "hidden_size": 8 },
        });
        assert_eq!(Value::Object(given), left);
    }

    #[test]
    fn an_adapter_names_a_model_that_others_have_or_is_refused() {
        let path = Path::new("adapter_config.json");
        let mut local = table(json!({ BASE: "/here/me/model", "revision": "x" }));
        let message = name_base(&mut local, path, None).unwrap_err().to_string();
        assert!(message.contains("/here/me/model"), "{message}");
        assert!(name_base(&mut local, path, Some("o/base")).unwrap());
        assert_eq!(Value::Object(local), json!({ BASE: "o/base", "revision": null }));
        let mut ours = table(json!({ BASE: "hf://o/base@v2", "r": 8 }));
        assert!(name_base(&mut ours, path, None).unwrap());
        assert_eq!(
            Value::Object(ours),
            json!({ BASE: "o/base", "r": 8, "revision": "v2" })
        );
        let mut named = table(json!({ BASE: "o/base", "revision": "x" }));
        for base in [None, Some("o/base")] {
            assert!(!name_base(&mut named, path, base).unwrap());
        }
        assert_eq!(named["revision"], "x");
    }
}
