//! Caches that other programs filled, in whole or in part, and which of their files are used.
#![cfg(unix)]

use crate::python::make;
use crate::server::{COMMIT, Repo, Server};
use crate::trial::{Trial, check_model, model, weights};
use cadft_hub::{Hint, HubError};
use std::fs;
use std::path::{Path, PathBuf};

/// A cache that Python wrote, changed by `change`.
fn trial(change: impl Fn(&Path)) -> Trial {
    let trial = Trial::new();
    make(&trial.cache());
    change(&trial.cache());
    trial
}

fn data(cache: &Path) -> PathBuf {
    cache.join("datasets--o--d")
}

fn snapshot(repository: &Path) -> PathBuf {
    repository.join("snapshots").join(COMMIT)
}

/// Removes the listings: older versions of Python's package write none.
fn forget_listings(cache: &Path) {
    for repository in ["models--o--n", "datasets--o--d"] {
        fs::remove_dir_all(cache.join(repository).join("trees")).unwrap();
    }
}

#[test]
fn a_cache_without_listings_is_used_without_a_network() {
    let trial = trial(forget_listings);
    assert_eq!(
        trial.ask_offline("hf://o/n").unwrap(),
        snapshot(&trial.cache().join("models--o--n"))
    );
    assert_eq!(
        trial.ask_offline("hf://datasets/o/d").unwrap(),
        snapshot(&data(&trial.cache()))
    );
}

#[test]
fn a_cache_of_copies_instead_of_links_is_used() {
    let trial = trial(|cache| {
        for path in crate::trial::paths_below(cache)
            .iter()
            .filter(|path| path.is_symlink())
        {
            let bytes = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        }
        for repository in ["models--o--n", "datasets--o--d"] {
            fs::remove_dir_all(cache.join(repository).join("blobs")).unwrap();
        }
    });
    trial.ask_offline("hf://o/n").unwrap();
    trial.ask_offline("hf://datasets/o/d").unwrap();
    trial.ask_offline("hf://datasets/o/d/test.jsonl").unwrap();
}

#[test]
fn a_data_set_that_lacks_files_is_not_taken_for_the_whole() {
    let absent = "data/train-00001-of-00002.jsonl";
    let trial = trial(|cache| fs::remove_file(snapshot(&data(cache)).join(absent)).unwrap());
    // First with a listing, then by the shard numbers in the names.
    for _ in 0..2 {
        let error = trial.ask_offline("hf://datasets/o/d").unwrap_err();
        assert!(
            matches!(error, HubError::Incomplete { .. }) && error.is_input(),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains(absent) && text.contains(&snapshot(&data(&trial.cache())).display().to_string()),
            "{text}"
        );
        // One file of it is still found, and the hint names the directory for those who want only the files present.
        trial.ask_offline("hf://datasets/o/d/test.jsonl").unwrap();
        trial
            .ask_offline(&format!("hf://datasets/o/d/{absent}"))
            .unwrap_err();
        let _ = fs::remove_dir_all(data(&trial.cache()).join("trees"));
    }
}

#[test]
fn a_data_set_without_a_listing_is_completed_where_there_is_a_network() {
    let trial = Trial::new();
    let repo = Repo::new(&[("a.jsonl", b"{}"), ("b.jsonl", b"[]")]);
    let server = Server::start(move |asked| repo.reply(asked));
    // Like Python's `hf download --repo-type dataset o/d a.jsonl`.
    trial.ask(&server, "hf://datasets/o/d/a.jsonl").unwrap();
    assert!(!snapshot(&data(&trial.cache())).join("b.jsonl").exists());
    let directory = trial.ask(&server, "hf://datasets/o/d").unwrap();
    assert!(directory.join("a.jsonl").is_file() && directory.join("b.jsonl").is_file());
}

#[test]
fn a_model_is_not_used_without_what_its_answers_depend_on() {
    for absent in [
        "generation_config.json",
        "tokenizer.json",
        "config.json",
        "model.safetensors",
    ] {
        let trial =
            trial(|cache| fs::remove_file(snapshot(&cache.join("models--o--n")).join(absent)).unwrap());
        let error = trial.ask_offline("hf://o/n").unwrap_err();
        assert!(
            matches!(error, HubError::Incomplete { .. }) && error.to_string().contains(absent),
            "{error}"
        );
    }
}

#[test]
fn a_link_that_leads_nowhere_is_an_absent_file() {
    let trial = trial(|cache| fs::remove_dir_all(cache.join("models--o--n/blobs")).unwrap());
    let error = trial.hub("http://127.0.0.1:1");
    let error = cadft_hub::Hub {
        is_offline: true,
        ..error
    }
    .resolve(&crate::trial::spec("hf://o/n"))
    .unwrap_err();
    assert!(
        matches!(error, HubError::Incomplete { .. }) && error.to_string().contains("`config.json`"),
        "{error}"
    );
}

#[test]
fn commits_that_are_there_are_named_where_the_branch_is_not() {
    let trial = trial(|cache| fs::remove_dir_all(data(cache).join("refs")).unwrap());
    let error = trial.ask_offline("hf://datasets/o/d").unwrap_err();
    assert!(
        matches!(error, HubError::Offline { .. }) && error.to_string().contains(COMMIT),
        "{error}"
    );
    trial.ask_offline(&format!("hf://datasets/o/d@{COMMIT}")).unwrap();
    let error = trial.ask_offline("hf://o/other").unwrap_err();
    assert!(
        matches!(error, HubError::Offline { .. }) && !error.to_string().contains(COMMIT),
        "{error}"
    );
}

#[test]
fn a_ref_that_is_no_commit_leads_nowhere() {
    for text in ["", "main", "../../../etc", "/etc", &COMMIT[1..], "\u{1b}[2J"] {
        let trial = trial(|cache| fs::write(data(cache).join("refs/main"), text).unwrap());
        let error = trial.ask_offline("hf://datasets/o/d").unwrap_err();
        assert!(matches!(error, HubError::Offline { .. }), "{text:?}: {error}");
    }
    // The Rust package `hf-hub` writes a line end after the commit.
    let trial = trial(|cache| fs::write(data(cache).join("refs/main"), format!("{COMMIT}\n")).unwrap());
    trial.ask_offline("hf://datasets/o/d").unwrap();
}

#[test]
fn a_damaged_listing_is_as_good_as_none() {
    let huge = "[".repeat(100_000);
    for text in ["", "{}", "{\"format_version\": 2, \"files\": {}}", &huge] {
        let trial = trial(|cache| fs::write(data(cache).join(format!("trees/{COMMIT}.json")), text).unwrap());
        trial.ask_offline("hf://datasets/o/d").unwrap();
    }
}

#[test]
fn a_damaged_file_is_named_and_fetched_again_when_it_is_removed() {
    let damages: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes[0] ^= 1,
        Vec::clear,
    ];
    for is_listed in [true, false] {
        for damage in damages {
            for name in ["config.json", "tokenizer.json"] {
                let trial = Trial::new();
                let server = Server::start(|asked| model().reply(asked));
                let directory = trial.ask(&server, "hf://o/n").unwrap();
                if !is_listed {
                    fs::remove_dir_all(trial.cache().join("models--o--n/trees")).unwrap();
                }
                let blob = fs::canonicalize(directory.join(name)).unwrap();
                let mut bytes = fs::read(&blob).unwrap();
                damage(&mut bytes);
                fs::write(&blob, bytes).unwrap();
                for error in [
                    trial.ask_offline("hf://o/n").unwrap_err(),
                    trial.ask(&server, "hf://o/n").unwrap_err(),
                ] {
                    assert!(
                        matches!(&error, HubError::Damaged { path, .. } if *path == blob),
                        "{error}"
                    );
                    assert!(cadft_hub::with_hints(&error).contains("remove it"));
                }
                fs::remove_file(&blob).unwrap();
                check_model(&trial.ask(&server, "hf://o/n").unwrap());
            }
        }
    }
}

#[test]
fn weights_that_another_program_cut_off_are_named() {
    // Larger than the files that are read again at every use.
    let whole = weights(6 << 20);
    let repo = Repo::new(&[("config.json", b"{}"), ("model.safetensors", &whole)]);
    let trial = Trial::new();
    let server = Server::start(move |asked| repo.reply(asked));
    let directory = trial.ask(&server, "hf://o/n").unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(directory.join("model.safetensors"))
        .unwrap()
        .set_len(5 << 20)
        .unwrap();
    for message in ["where the Hub lists", "where its header says"] {
        let error = trial.ask_offline("hf://o/n").unwrap_err();
        assert!(
            matches!(error, HubError::Damaged { .. }) && error.to_string().contains(message),
            "{error}"
        );
        let _ = fs::remove_dir_all(trial.cache().join("models--o--n/trees"));
    }
}
