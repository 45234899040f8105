//! Which files are sent, and when one has changed.

use super::*;
use std::io::Write;

fn weights() -> Vec<u8> {
    let header = br#"{"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(b"abc");
    bytes
}

fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    directory
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = files_of(directory)
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .collect();
    names.sort();
    names
}

#[test]
fn only_what_belongs_to_a_model_or_adapter_is_sent() {
    let others: &[(&str, &[u8])] = &[
        ("samples.jsonl", b"{}"),
        ("train.jsonl", b"{}"),
        ("optimizer.pt", b"x"),
        ("trainer_state.json", b"{}"),
        (".env", b"x"),
        (".git/config", b"x"),
        ("config.json.tmp", b"x"),
        ("training/state.json", b"{}"),
        ("modeling_custom.py", b"x"),
        ("other.safetensors", b"x"),
    ];
    let model: &[(&str, &[u8])] = &[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("README.md", b"text"),
        ("additional_chat_templates/tool.jinja", b"x"),
        ("additional_chat_templates/.hidden.jinja", b"x"),
    ];
    let single = weights();
    let single: &[(&str, &[u8])] = &[("model.safetensors", &single)];
    let found = directory(&[others, model, single].concat());
    let around = ["README.md", "additional_chat_templates/tool.jinja", "config.json"];
    let expected = [&around[..], &["model.safetensors", "tokenizer.json"]].concat();
    assert_eq!(names(found.path()), expected);

    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let bytes = weights();
    let shards: &[(&str, &[u8])] = &[
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", &bytes),
        ("model-2.safetensors", &bytes),
    ];
    let found = directory(&[others, model, shards].concat());
    let expected = [
        &around[..],
        &[
            "model-1.safetensors",
            "model-2.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ],
    ];
    assert_eq!(names(found.path()), expected.concat());

    let adapter: &[(&str, &[u8])] = &[
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", &bytes),
    ];
    let found = directory(&[others, model, single, adapter].concat());
    let expected = ["README.md", "adapter_config.json", "adapter_model.safetensors"];
    let found = names(found.path());
    assert!(
        expected
            .iter()
            .all(|name| found.iter().any(|found| found == name)),
        "{found:?}"
    );
    assert!(
        !found
            .iter()
            .any(|name| name == "config.json" || name == "model.safetensors"),
        "{found:?}"
    );
}

#[test]
fn weights_that_are_cut_or_missing_are_refused_together() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let bytes = weights();
    let found = directory(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", &bytes[..bytes.len() - 1]),
    ]);
    let error = files_of(found.path()).unwrap_err().to_string();
    assert!(
        error.contains("model-1.safetensors` has") && error.contains("model-2.safetensors` cannot"),
        "{error}"
    );
    for (name, part) in [
        ("samples.jsonl", "not a safetensors"),
        ("../a.safetensors", "has a part"),
    ] {
        let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
        let files: &[(&str, &[u8])] = &[
            ("config.json", b"{}"),
            ("samples.jsonl", b"{}"),
            ("model.safetensors.index.json", index.as_bytes()),
        ];
        let error = files_of(directory(files).path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = files_of(directory(&[("config.json", b"{}")]).path()).unwrap_err();
    assert!(error.to_string().contains("neither `config.json`"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_directory_is_refused_and_one_into_the_cache_is_not() {
    use std::os::unix::fs::symlink;
    let bytes = weights();
    let outside = directory(&[("secret", b"of the user")]);
    let found = directory(&[("config.json", b"{}"), ("model.safetensors", &bytes)]);
    symlink(outside.path().join("secret"), found.path().join("vocab.json")).unwrap();
    let error = files_of(found.path()).unwrap_err().to_string();
    assert!(error.contains("vocab.json` is a link"), "{error}");

    let cache = directory(&[("blobs/1", b"{}"), ("blobs/2", &bytes), ("snapshots/c/x", b"")]);
    let snapshot = cache.path().join("snapshots/c");
    symlink("../../blobs/1", snapshot.join("config.json")).unwrap();
    symlink("../../blobs/2", snapshot.join("model.safetensors")).unwrap();
    assert_eq!(names(&snapshot), ["config.json", "model.safetensors"]);
}

#[test]
fn hashes_are_those_of_git_and_sha256sum_and_a_change_is_noticed() {
    // `printf hello | sha256sum`, `| git hash-object --stdin`.
    let found = directory(&[("x", b"hello")]);
    let path = found.path().join("x");
    let packed = Packed::read_file("x", &path).unwrap();
    let of_bytes = Packed::of_bytes("x", b"hello".to_vec());
    for packed in [&packed, &of_bytes] {
        assert_eq!(
            packed.sha256,
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert_eq!(packed.git, "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0");
        assert_eq!((packed.size, packed.sample.as_slice()), (5, &b"hello"[..]));
        packed.check_unchanged().unwrap();
    }
    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"!")
        .unwrap();
    for error in [packed.check_unchanged().unwrap_err(), packed.bytes().unwrap_err()] {
        assert!(
            matches!(&error, HubError::Changed { path: changed } if *changed == path),
            "{error}"
        );
    }
}
