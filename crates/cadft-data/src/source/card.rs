//! The configurations in the `README.md` of a data set, from the YAML between its first two lines of `---`.

mod yaml;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Map, Value};

use crate::shown::names;

/// Largest number of bytes that are read from a card.
const MAX_BYTES: u64 = 1 << 20;

/// The files with this YAML; the first one that has it is used.
const FILES: [&str; 2] = [".huggingface.yaml", "README.md"];

/// A configuration: a part of a data set that is loaded separately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) name: String,
    pub(super) is_default: bool,
    /// The directory of its files, if it is not that of the data set.
    pub(super) directory: Option<String>,
    /// The paths and globs of each split, if the card lists them.
    pub(super) files: Option<Vec<(String, Vec<String>)>>,
}

/// The configurations of a data set in their order; empty if the card is absent or lists none.
///
/// # Errors
/// What is wrong with the card.
pub(super) fn configurations(root: &Path) -> Result<Vec<Configuration>, String> {
    for name in FILES {
        let text = match text(&root.join(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("`{name}` cannot be read: {error}")),
        };
        let Some(yaml) = (if name == "README.md" {
            front_matter(&text)
        } else {
            Some(text.as_str())
        }) else {
            continue;
        };
        let wrong = |message: String| format!("`{name}`: {message}");
        let card = yaml::parse(yaml).map_err(|problem| {
            let problem = problem.lines().next().unwrap_or_default().to_owned();
            wrong(format!("no YAML: {problem}"))
        })?;
        let configs = match card.get("configs") {
            None | Some(Value::Null) => continue,
            Some(Value::Array(configs)) => configs,
            Some(_) => return Err(wrong("`configs` is no list".to_owned())),
        };
        let configs = configs.iter().map(|config| {
            let fields = config.as_object().cloned();
            configuration(fields.unwrap_or_default()).map_err(wrong)
        });
        return configs.collect();
    }
    Ok(Vec::new())
}

fn text(path: &Path) -> io::Result<String> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
}

fn front_matter(text: &str) -> Option<&str> {
    let text = text
        .trim_start_matches('\u{FEFF}')
        .trim_start()
        .strip_prefix("---\n")?;
    let end = text.match_indices("\n---").find(|(index, _)| {
        let after = &text[index + 4..];
        after.is_empty() || after.starts_with('\n')
    });
    end.map(|(index, _)| &text[..index])
}

fn configuration(mut fields: Map<String, Value>) -> Result<Configuration, String> {
    let Some(Value::String(name)) = fields.remove("config_name") else {
        return Err("one of `configs` has no `config_name`".to_owned());
    };
    let at = |message: String| format!("configuration `{name}`: {message}");
    let directory = match fields.remove("data_dir") {
        None | Some(Value::Null) => None,
        Some(Value::String(directory)) => Some(directory),
        Some(_) => return Err(at("`data_dir` is no string".to_owned())),
    };
    let files = match fields.remove("data_files") {
        None | Some(Value::Null) => None,
        Some(files) => Some(splits(files).map_err(at)?),
    };
    let is_default = fields.remove("default").is_some_and(|value| value == true);
    for known in ["version", "description", "features"] {
        fields.remove(known);
    }
    if !fields.is_empty() {
        let keys = names(fields.keys());
        return Err(at(format!(
            "how its files are read is not taken from here: {keys}"
        )));
    }
    Ok(Configuration {
        name,
        is_default,
        directory,
        files,
    })
}

/// Parses `data_files`: paths of the split `train`, or a list with `split` and `path`.
fn splits(files: Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let expected = || "`data_files` are a path, paths, or a list of `split` and `path`".to_owned();
    let Value::Array(items) = files else {
        return Ok(vec![("train".to_owned(), paths(files).ok_or_else(expected)?)]);
    };
    if items.iter().all(Value::is_string) {
        let paths = paths(Value::Array(items)).ok_or_else(expected)?;
        return Ok(vec![("train".to_owned(), paths)]);
    }
    let mut splits: Vec<(String, Vec<String>)> = Vec::new();
    for mut item in items {
        let path = item.get_mut("path").map(Value::take);
        let split = item
            .get("split")
            .and_then(Value::as_str)
            .ok_or_else(expected)?
            .to_owned();
        if splits.iter().any(|(name, _)| *name == split) {
            return Err(format!("`data_files` has the split `{split}` twice"));
        }
        splits.push((split, path.and_then(paths).ok_or_else(expected)?));
    }
    Ok(splits)
}

fn paths(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(path) => Some(vec![path]),
        Value::Array(paths) => paths
            .into_iter()
            .map(|path| path.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}
