//! The requests to an honest Hub, and their results.

use crate::server::{COMMIT, Repo, Server};
use crate::trial::{TOKEN, Trial, check_model, model, spec};
use cadft_hub::{Hint, Hub, HubError, with_hints};
use std::fs;

const INDEX: &[u8] =
    br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;

fn sharded() -> Repo {
    Repo::new(&[
        ("config.json", b"{}"),
        ("README.md", b"never asked for"),
        ("pytorch_model.bin", b"neither"),
        ("model.safetensors.index.json", INDEX),
        ("model-00001-of-00002.safetensors", b"1st"),
        ("model-00002-of-00002.safetensors", b"second"),
    ])
}

fn serve(repo: Repo) -> Server {
    Server::start(move |asked| repo.reply(asked))
}

#[test]
fn a_model_is_downloaded_once_and_then_found_without_a_network() {
    let trial = Trial::new();
    let server = serve(sharded());
    let directory = trial.ask(&server, "hf://owner/name").unwrap();
    assert_eq!(
        fs::read(directory.join("model-00002-of-00002.safetensors")).unwrap(),
        b"second"
    );
    assert!(!directory.join("README.md").exists() && !directory.join("pytorch_model.bin").exists());
    let asked = server.paths();
    assert!(asked.contains(&"/api/models/owner/name/revision/main".to_owned()));
    assert_eq!(trial.ask_offline("hf://owner/name").unwrap(), directory);
    assert_eq!(
        trial.ask_offline(&format!("hf://owner/name@{COMMIT}")).unwrap(),
        directory
    );
    assert_eq!(trial.ask(&server, "hf://owner/name").unwrap(), directory);
    assert_eq!(server.paths(), asked, "the cache needs no network");
}

#[test]
fn a_mirror_without_listings_gives_the_same_files() {
    let trial = Trial::new();
    let server = serve(Repo {
        is_without_tree: true,
        ..model()
    });
    check_model(&trial.ask(&server, "hf://o/n").unwrap());
    check_model(&trial.ask_offline("hf://o/n").unwrap());
}

#[test]
fn an_endpoint_may_have_a_path() {
    let trial = Trial::new();
    let server = serve(model());
    let hub = trial.hub(&format!("{}/mirror/of/it/", server.address));
    check_model(&hub.resolve(&spec("hf://o/n")).unwrap());
    assert!(
        server
            .paths()
            .iter()
            .all(|path| path.starts_with("/mirror/of/it/") || path.starts_with("/storage/"))
    );
}

#[test]
fn a_cache_with_a_missing_shard_is_completed() {
    let trial = Trial::new();
    let server = serve(sharded());
    let directory = trial.ask(&server, "hf://owner/name").unwrap();
    fs::remove_file(directory.join("model-00001-of-00002.safetensors")).unwrap();
    let error = trial.ask_offline("hf://owner/name").unwrap_err();
    assert!(matches!(error, HubError::Incomplete { .. }), "{error}");
    assert!(
        error.to_string().contains("HF_HUB_OFFLINE")
            && error.to_string().contains("`model-00001-of-00002.safetensors`")
    );
    assert_eq!(trial.ask(&server, "hf://owner/name").unwrap(), directory);
    assert!(directory.join("model-00001-of-00002.safetensors").is_file());
}

#[test]
fn data_files_are_found_whole_or_one_by_one() {
    let trial = Trial::new();
    let server = serve(Repo::new(&[
        ("data/train.jsonl", b"{}"),
        ("README.md", b"# data"),
        ("test.parquet", b"PAR1"),
    ]));
    let file = trial
        .ask(&server, "hf://datasets/a/b@v1/data/train.jsonl")
        .unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "{}");
    assert!(
        server
            .paths()
            .contains(&"/api/datasets/a/b/revision/v1".to_owned())
    );
    assert!(!server.paths().iter().any(|path| path.ends_with("test.parquet")));
    let directory = trial.ask(&server, "hf://datasets/a/b@v1").unwrap();
    assert!(directory.join("test.parquet").is_file() && directory.join("README.md").is_file());
    let asked = server.paths();
    assert_eq!(trial.ask(&server, "hf://datasets/a/b@v1").unwrap(), directory);
    assert_eq!(server.paths(), asked);
}

#[test]
fn names_and_revisions_with_any_character_are_asked_for() {
    let trial = Trial::new();
    let server = serve(Repo::new(&[("größe 100%/a#b?c&d+e.jsonl", b"{}")]));
    let directory = trial
        .ask(&server, "hf://datasets/a/b@refs%2Fconvert%2Fparquet")
        .unwrap();
    assert!(directory.join("größe 100%/a#b?c&d+e.jsonl").is_file());
    assert!(
        server.paths()[0].ends_with("/revision/refs%2Fconvert%2Fparquet"),
        "{:?}",
        server.paths()
    );
    assert_eq!(
        trial
            .ask_offline("hf://datasets/a/b@refs%2Fconvert%2Fparquet")
            .unwrap(),
        directory
    );
}

#[test]
fn a_listing_is_read_to_its_last_page() {
    let names: Vec<String> = (0..25).map(|number| format!("{number}.jsonl")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"{}"[..])).collect();
    let trial = Trial::new();
    let server = serve(Repo {
        page: 10,
        ..Repo::new(&files)
    });
    let directory = trial.ask(&server, "hf://datasets/a/b").unwrap();
    assert!(names.iter().all(|name| directory.join(name).is_file()));
}

#[test]
fn a_gated_repository_needs_the_token_and_a_missing_one_says_so() {
    let mut trial = Trial::new();
    let server = serve(model());
    trial.token = None;
    let error = trial.ask(&server, "hf://owner/name").unwrap_err();
    assert!(matches!(error, HubError::Refused { status: 401, .. }) && error.is_input());
    let text = with_hints(&error);
    assert!(
        text.contains("`hf://owner/name`")
            && text.contains("`HF_TOKEN`")
            && text.contains("Invalid username"),
        "{text}"
    );
    trial.token = Some(TOKEN);
    check_model(&trial.ask(&server, "hf://owner/name").unwrap());
    let error = with_hints(&trial.ask(&server, "hf://owner/nothing").unwrap_err());
    assert!(error.contains("the owner, the name and the revision"), "{error}");
}

#[test]
fn a_password_in_the_address_is_used_and_not_shown() {
    let trial = Trial::new();
    let server = serve(model());
    let address = server.address.replace("http://", "http://user:pa55word@");
    let error = trial.hub(&address).resolve(&spec("hf://o/n")).unwrap_err();
    assert!(
        !error.to_string().contains("pa55word") && !format!("{error:?}").contains("pa55word"),
        "{error}"
    );
    assert_eq!(
        server.asked()[0].header("authorization"),
        Some("Basic dXNlcjpwYTU1d29yZA==")
    );
}

#[test]
fn a_repository_without_what_is_wanted_is_refused() {
    let trial = Trial::new();
    let server = serve(Repo::new(&[
        ("README.md", b"nothing here"),
        (".a.jsonl", b"{}"),
        ("__b/c.csv", b""),
    ]));
    for name in ["hf://a/b", "hf://datasets/a/b"] {
        let error = trial.ask(&server, name).unwrap_err();
        assert!(matches!(error, HubError::Empty { .. }), "{error}");
    }
    let error = trial.ask(&server, "hf://datasets/a/b/absent.jsonl").unwrap_err();
    assert!(matches!(error, HubError::Refused { status: 404, .. }), "{error}");
    assert!(!trial.cache().join("datasets--a--b/refs/main").exists());
    assert!(!trial.cache().join("models--a--b/refs/main").exists());
}

#[test]
fn what_cannot_be_reached_is_an_error_of_the_network() {
    let trial = Trial::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = trial.hub(&address).resolve(&spec("hf://o/n")).unwrap_err();
    assert!(
        matches!(error, HubError::Network { .. }) && !error.is_input(),
        "{error}"
    );
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let trial = Trial::new();
    fs::write(trial.cache(), "a file").unwrap();
    let hub: Hub = trial.hub(&serve(model()).address);
    let error = hub.resolve(&spec("hf://o/n")).unwrap_err();
    assert!(
        matches!(error, HubError::Io { .. }) && !error.is_input(),
        "{error}"
    );
    assert!(
        error.to_string().contains(&trial.cache().display().to_string()),
        "{error}"
    );
}
