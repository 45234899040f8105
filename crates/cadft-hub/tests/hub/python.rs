//! The cache is compatible with Python's `huggingface_hub`: `python/hub_cache.py` records what that package makes of a
//! Hub.

use crate::server::{COMMIT, Entry, Repo, Server};
use crate::trial::{Trial, paths_below};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hub/cache.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A server with the files of the fixture for the requested repository.
fn server() -> Server {
    let fixture = fixture();
    assert_eq!(fixture["commit"], COMMIT);
    Server::start(move |asked| {
        let of = |repository: &str| -> Vec<Entry> {
            let files = fixture["files"][repository].as_object().unwrap();
            let entry = |(name, file): (&String, &Value)| Entry {
                name: name.clone(),
                bytes: file["text"].as_str().unwrap().as_bytes().to_vec(),
                is_lfs: file["lfs"].as_bool().unwrap(),
            };
            files.iter().map(entry).collect()
        };
        let entries = match () {
            () if asked.path.contains("/storage/") => [of("models/o/n"), of("datasets/o/d")].concat(),
            () if asked.path.contains("datasets/") => of("datasets/o/d"),
            () => of("models/o/n"),
        };
        Repo {
            entries,
            ..Repo::default()
        }
        .reply(asked)
    })
}

/// Every file of a cache, in the notation of the fixture.
fn listing(cache: &Path) -> BTreeMap<String, String> {
    let files = paths_below(cache)
        .into_iter()
        .filter(|path| path.is_symlink() || path.is_file());
    files
        .map(|path| {
            let text = match fs::read_link(&path) {
                Ok(target) => format!("-> {}", target.display()),
                Err(_) => fs::read_to_string(&path).unwrap(),
            };
            (
                path.strip_prefix(cache).unwrap().to_str().unwrap().to_owned(),
                text,
            )
        })
        .collect()
}

/// Compares values: Python escapes non-ASCII letters in JSON.
fn same(path: &str, found: &str, expected: &str) -> bool {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    if path.contains("/trees/") {
        value(found) == value(expected)
    } else {
        found == expected
    }
}

/// Writes the cache that Python made.
#[cfg(unix)]
pub(crate) fn make(cache: &Path) {
    for (path, text) in fixture()["cache"].as_object().unwrap() {
        let (path, text) = (cache.join(path), text.as_str().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => fs::write(path, text).unwrap(),
        }
    }
}

#[cfg(unix)]
#[test]
fn the_cache_is_laid_out_as_python_lays_it_out() {
    let (trial, server) = (Trial::new(), server());
    for name in [
        "hf://o/n",
        "hf://datasets/o/d",
        "hf://datasets/o/d@refs%2Fconvert%2Fx/test.jsonl",
    ] {
        trial.ask(&server, name).unwrap();
    }
    let fixture = fixture();
    let expected = fixture["cache"].as_object().unwrap();
    let found = listing(&trial.cache());
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (path, text) in &found {
        let expected = expected[path].as_str().unwrap();
        assert!(same(path, text, expected), "{path}: {text} instead of {expected}");
    }
}

#[cfg(unix)]
#[test]
fn files_of_the_cache_are_for_those_who_may_read_what_the_user_makes() {
    use std::os::unix::fs::PermissionsExt;
    let (trial, server) = (Trial::new(), server());
    trial.ask(&server, "hf://o/n").unwrap();
    let usual = trial.root().join("hub/usual");
    fs::write(&usual, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    for path in paths_below(&trial.cache()).iter().filter(|path| path.is_file()) {
        assert_eq!(mode(path), mode(&usual), "{}", path.display());
    }
}

#[cfg(unix)]
#[test]
fn what_python_cached_is_used_without_a_network() {
    let trial = Trial::new();
    make(&trial.cache());
    let fixture = fixture();
    for (name, repository) in [
        ("hf://o/n", "models/o/n"),
        ("hf://datasets/o/d", "datasets/o/d"),
        ("hf://datasets/o/d@refs%2Fconvert%2Fx", "datasets/o/d"),
        (&format!("hf://datasets/o/d@{COMMIT}"), "datasets/o/d"),
    ] {
        let directory = trial.ask_offline(name).unwrap();
        for (file, value) in fixture["files"][repository].as_object().unwrap() {
            if file != "README.md" {
                assert_eq!(
                    fs::read_to_string(directory.join(file)).unwrap(),
                    value["text"].as_str().unwrap()
                );
            }
        }
    }
    let file = trial.ask_offline("hf://datasets/o/d/data/a/b c é.jsonl").unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "{\"text\": \"c\"}\n");
}

#[cfg(unix)]
#[test]
fn what_python_cached_is_not_asked_for_again() {
    let (trial, server) = (Trial::new(), server());
    make(&trial.cache());
    for name in ["hf://o/n", "hf://datasets/o/d", "hf://datasets/o/d/test.jsonl"] {
        trial.ask(&server, name).unwrap();
    }
    assert!(server.asked().is_empty());
    fs::remove_file(trial.cache().join("datasets--o--d/refs/main")).unwrap();
    trial.ask(&server, "hf://datasets/o/d").unwrap();
    assert_eq!(
        server.paths(),
        ["/api/datasets/o/d/revision/main"],
        "only the commit of the branch is unknown"
    );
}
