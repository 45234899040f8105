//! A directory is read as by `load_dataset` of `datasets` (`python/data_folders.py`), or refused.

use std::fs;
use std::path::Path;

use cadft_data::{Source, with_hints};
use serde_json::Value;
use tempfile::TempDir;

fn directory(folder: &Value) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in folder["files"].as_array().unwrap() {
        let path = directory.path().join(name.as_str().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    if let Some(text) = folder["readme"].as_str() {
        fs::write(directory.path().join("README.md"), text).unwrap();
    }
    directory
}

/// The files that are read from a directory, or the error.
fn read(directory: &TempDir, config: Option<&str>, split: Option<&str>) -> Result<Vec<String>, String> {
    let source = Source {
        config: config.map(str::to_owned),
        split: split.map(str::to_owned),
        ..Source::new(directory.path().display().to_string())
    };
    let name = |path: &Path| path.strip_prefix(directory.path()).unwrap().display().to_string();
    let files = source.files().map_err(|error| with_hints(&error))?;
    Ok(files.iter().map(|path| name(path)).collect())
}

fn assert_chosen(folder: &Value, config: Option<&str>, chosen: &Value) {
    let directory = directory(folder);
    let without_split = read(&directory, config, None);
    let Some(splits) = chosen.as_object() else {
        assert!(without_split.is_err(), "{folder:#}\n{without_split:?}");
        return;
    };
    if folder["refused"] == true {
        let error = without_split.unwrap_err();
        assert!(error.contains("hint: "), "{error}");
        return;
    }
    for (split, files) in splits {
        let files: Vec<String> = serde_json::from_value(files.clone()).unwrap();
        assert_eq!(
            read(&directory, config, Some(split)),
            Ok(files.clone()),
            "{folder:#}\n{split}"
        );
        if splits.len() == 1 {
            assert_eq!(without_split, Ok(files), "{folder:#}");
        } else {
            let error = without_split.as_ref().unwrap_err();
            assert!(
                error.contains(&format!("`{split}`")) && error.contains("say which with `split`"),
                "{error}"
            );
        }
    }
    assert!(
        read(&directory, config, Some("no_such_split")).is_err(),
        "{folder:#}"
    );
}

#[test]
fn a_directory_is_read_as_datasets_reads_it_or_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data-folders.json");
    let folders: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(folders.len() > 40);
    for folder in &folders {
        assert_chosen(folder, None, &folder["default"]);
        for (config, chosen) in folder["configs"].as_object().unwrap() {
            assert_chosen(folder, Some(config), chosen);
        }
        assert!(read(&directory(folder), Some("no such configuration"), None).is_err());
    }
}

#[test]
fn files_of_no_split_beside_one_are_named() {
    let folder = serde_json::json!({"files": ["chat.jsonl", "chat_test.jsonl"]});
    let directory = directory(&folder);
    let error = read(&directory, None, None).unwrap_err();
    assert!(
        error.contains("`chat_test.jsonl`, but not `chat.jsonl`"),
        "{error}"
    );
    assert_eq!(
        read(&directory, None, Some("test")),
        Ok(vec!["chat_test.jsonl".to_owned()])
    );
}

#[test]
fn a_card_that_leads_out_of_its_directory_is_refused() {
    for path in ["../a.jsonl", "/etc/passwd", "https://example.com/a.jsonl", "../*"] {
        let readme = format!("---\nconfigs:\n- config_name: a\n  data_files: {path}\n---\n");
        let directory = directory(&serde_json::json!({"files": ["a.jsonl"], "readme": readme}));
        let error = read(&directory, None, None).unwrap_err();
        assert!(error.contains("is not below the directory"), "{path}: {error}");
    }
}

#[test]
fn a_card_that_is_malformed_is_refused() {
    let aliases: String = (1..30)
        .map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1))
        .collect();
    for (yaml, message) in [
        ("configs: [", "no YAML"),
        ("configs:\n- data_files: x\n", "no `config_name`"),
        (
            "configs:\n- config_name: a\n  data_files: {}\n",
            "`data_files` are a path",
        ),
        (
            "configs:\n- config_name: a\n  sep: ';'\n",
            "how its files are read is not taken from here: `sep`",
        ),
        (&format!("a0: &a0 x\n{aliases}configs: *a29\n"), "no YAML"),
    ] {
        let readme = format!("---\n{yaml}\n---\n");
        let directory = directory(&serde_json::json!({"files": ["a.jsonl"], "readme": readme}));
        let error = read(&directory, None, None).unwrap_err();
        assert!(error.contains(message), "{yaml}: {error}");
    }
}

#[cfg(unix)]
mod links {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_to_directories_are_not_followed_on_the_way_down() {
        let directory = directory(&serde_json::json!({"files": ["a.jsonl", "x/b.jsonl"]}));
        let path = directory.path();
        for name in ["l1", "l2", "x/l3"] {
            symlink(path, path.join(name)).unwrap();
        }
        assert_eq!(read(&directory, None, None).unwrap(), ["a.jsonl", "x/b.jsonl"]);
        let glob = |pattern: &str| {
            let source = Source::new(path.join(pattern).display().to_string());
            source
                .files()
                .map(|files| files.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(glob("**/*.jsonl"), Ok(2));
        assert_eq!(glob("x/**/*.jsonl"), Ok(1));
        // A link is followed if it is named, or matched by a single `*`.
        assert_eq!(glob("l1/*.jsonl"), Ok(1));
        assert_eq!(glob("l[12]/*.jsonl"), Ok(2));
    }

    #[test]
    fn only_regular_files_are_read_of_directories_and_globs() {
        let directory = directory(&serde_json::json!({"files": ["a.jsonl"]}));
        let fifo = directory.path().join("b.jsonl");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        symlink("/dev/zero", directory.path().join("c.jsonl")).unwrap();
        assert_eq!(read(&directory, None, None).unwrap(), ["a.jsonl"]);
        let source = Source::new(directory.path().join("*.jsonl").display().to_string());
        assert_eq!(source.files().unwrap().len(), 1);
    }

    #[test]
    fn a_device_is_refused_and_a_pipe_is_read() {
        for path in ["/dev/zero", "/dev/null"] {
            let error = Source::new(path).files().unwrap_err().to_string();
            assert!(error.contains("this is a device"), "{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("b.jsonl");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let writer = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::write(fifo, "{\"text\": \"a\"}\n{\"text\": \"b\"}\n").unwrap()
        });
        let source = Source::new(fifo.display().to_string());
        let rows: Vec<_> = source.rows().unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), 2);
        writer.join().unwrap();
    }

    #[test]
    fn a_name_that_is_no_utf8_is_read_of_a_directory() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let name = std::ffi::OsStr::from_bytes(b"a\xFF.jsonl");
        fs::write(directory.path().join(name), "{\"text\": \"a\"}\n").unwrap();
        for path in ["", "*.jsonl", "**/*.jsonl"] {
            let source = Source::new(directory.path().join(path).display().to_string());
            let rows: Vec<_> = source.rows().unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(rows.len(), 1, "{path}");
        }
    }
}
