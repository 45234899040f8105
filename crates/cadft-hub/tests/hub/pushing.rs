//! Sending to an honest Hub: fresh, again, cut and gone on with, in parts, to branches.

use crate::server::{Asked, Reply, Server};
use crate::store::Store;
use crate::trial::{TOKEN, Trial, check_message, spec, weights};
use cadft_hub::HubError;
use cadft_hub::push::{Content, Local, Package, Pushed, Target, Visibility, files_of};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A card that the Hub takes.
pub(crate) const CARD: &str = "---\ntags:\n- \"cadft\"\n---\n# A model\n";

/// A directory with a model, and with files that are not sent.
pub(crate) struct Sent {
    trial: Trial,
    directory: tempfile::TempDir,
}

impl Sent {
    pub(crate) fn new() -> Self {
        let sent = Self {
            trial: Trial::new(),
            directory: tempfile::tempdir().unwrap(),
        };
        for (name, bytes) in [
            ("config.json", br#"{"model_type": "llama"}"#.to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
            ("README.md", CARD.into()),
            ("model.safetensors", weights(40_000)),
            ("samples.jsonl", b"a text of the user".to_vec()),
            (".env", b"a text of the user".to_vec()),
        ] {
            fs::write(sent.path(name), bytes).unwrap();
        }
        sent
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn package(&self) -> Package {
        Package::read(files_of(self.directory.path()).unwrap()).unwrap()
    }

    /// What is sent, by name.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = ["README.md", "config.json", "model.safetensors", "tokenizer.json"];
        let bytes = |name: &str| (name.to_owned(), fs::read(self.path(name)).unwrap());
        names.into_iter().map(bytes).collect()
    }

    pub(crate) fn push(&self, server: &Server, name: &str) -> Result<Pushed, HubError> {
        self.push_as(server, name, Visibility::OfOwner, &self.package())
    }

    pub(crate) fn push_as(
        &self,
        server: &Server,
        name: &str,
        visibility: Visibility,
        package: &Package,
    ) -> Result<Pushed, HubError> {
        let target = Target {
            spec: spec(name),
            visibility,
            message: "Add a model".to_owned(),
        };
        let outcome = self.trial.hub(&server.address).push(&target, package, &|_, _| {});
        if let Err(error) = &outcome {
            check_message(error);
        }
        for asked in server.asked() {
            assert!(!asked.path.contains(TOKEN), "{}", asked.path);
            let is_storage = asked.path.starts_with("/storage/") || asked.path.contains("complete_multipart");
            assert!(
                !is_storage || asked.header("authorization").is_none(),
                "{asked:?}"
            );
        }
        outcome
    }
}

pub(crate) fn serve(store: &Store) -> Server {
    let store = store.clone();
    Server::start(move |asked| store.reply(asked))
}

/// How often something was put into the storage.
fn puts(server: &Server) -> usize {
    server
        .asked()
        .iter()
        .filter(|asked| asked.method == "PUT")
        .count()
}

fn names(pushed: &[(String, u64)]) -> Vec<&str> {
    pushed.iter().map(|(name, _)| name.as_str()).collect()
}

/// What the repository has, without what the Hub itself put there.
fn there(store: &Store, branch: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = store.files("o/n", branch);
    files.remove(".gitattributes");
    files
}

#[test]
fn a_fresh_push_sends_the_model_and_nothing_else_and_a_second_one_sends_nothing() {
    let sent = Sent::new();
    for (chunk, verifies) in [(0, false), (0, true), (7_000, true), (100_000, false)] {
        let store = Store {
            chunk,
            verifies,
            ..Store::new(TOKEN)
        };
        let server = serve(&store);
        let pushed = sent.push(&server, "hf://o/n").unwrap();
        assert_eq!(there(&store, "main"), sent.files());
        let all: Vec<String> = sent.files().into_keys().collect();
        assert_eq!(pushed.committed, all);
        assert_eq!(names(&pushed.sent), all);
        assert_eq!(pushed.address, format!("{}/o/n", server.address));
        assert!(!store.is_private("o/n"));
        let parts = if chunk == 0 {
            1
        } else {
            weights(40_000).len().div_ceil(chunk)
        };
        assert_eq!(puts(&server), parts);

        let again = sent.push(&server, "hf://o/n").unwrap();
        assert!(again.committed.is_empty() && again.sent.is_empty(), "{again:?}");
        assert_eq!(again.commit, pushed.commit);
        assert_eq!((puts(&server), store.commits()), (parts, 1));
    }
}

#[test]
fn only_what_changed_is_sent() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    let server = serve(&store);
    let _ = sent.push(&server, "hf://o/n").unwrap();
    fs::write(sent.path("config.json"), b"{}").unwrap();
    let pushed = sent.push(&server, "hf://o/n").unwrap();
    assert_eq!(pushed.committed, ["config.json"]);
    assert_eq!((puts(&server), store.commits()), (1, 2));
    assert_eq!(there(&store, "main"), sent.files());
}

#[test]
fn two_files_with_the_same_bytes_are_one_object() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    let server = serve(&store);
    let file = |name: &str| Local {
        name: name.to_owned(),
        content: Content::File(sent.path("model.safetensors")),
        stays: None,
    };
    let package = Package::read(vec![file("a.safetensors"), file("b.safetensors")]).unwrap();
    let pushed = sent
        .push_as(&server, "hf://o/n", Visibility::OfOwner, &package)
        .unwrap();
    assert_eq!(
        (pushed.committed.len(), pushed.sent.len(), puts(&server)),
        (2, 1, 1)
    );
    assert_eq!(there(&store, "main").len(), 2);
}

/// A server that cuts the first `times` connections on which `of` is put, after some bytes.
fn cutting(store: &Store, of: &'static str, times: usize) -> Server {
    let (store, left) = (store.clone(), AtomicUsize::new(times));
    let is_cut = move |asked: &Asked| {
        let is_meant = asked.method == "PUT" && asked.path.contains(of);
        let take = |left: usize| left.checked_sub(1);
        is_meant
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_ok()
    };
    Server::start_cutting(
        move |asked| store.reply(asked),
        move |asked| is_cut(asked).then_some(1000),
    )
}

#[test]
fn a_connection_that_breaks_is_made_again_and_only_that_part_is_sent_again() {
    let sent = Sent::new();
    let store = Store {
        chunk: 7_000,
        verifies: true,
        ..Store::new(TOKEN)
    };
    let server = cutting(&store, "/3?", 2);
    let _ = sent.push(&server, "hf://o/n").unwrap();
    assert_eq!(there(&store, "main"), sent.files());
    assert_eq!(puts(&server), weights(40_000).len().div_ceil(7_000) + 2);
}

#[test]
fn a_push_that_was_cut_commits_nothing_and_the_same_push_finishes_it() {
    let sent = Sent::new();
    fs::write(sent.path("adapter_config.json"), "{}").unwrap();
    fs::write(sent.path("adapter_model.safetensors"), weights(9_000)).unwrap();
    let file = |name: &str| Local {
        name: name.to_owned(),
        content: Content::File(sent.path(name)),
        stays: None,
    };
    let package = || {
        let names = [
            "adapter_config.json",
            "adapter_model.safetensors",
            "model.safetensors",
        ];
        Package::read(names.map(file).to_vec()).unwrap()
    };
    let store = Store::new(TOKEN);
    let large = package()
        .files()
        .iter()
        .find(|file| file.name == "model.safetensors")
        .unwrap()
        .sha256
        .clone();
    let large: &'static str = large.leak();
    let server = cutting(&store, large, usize::MAX);
    let error = sent
        .push_as(&server, "hf://o/n", Visibility::OfOwner, &package())
        .unwrap_err();
    let text = cadft_hub::with_hints(&error);
    assert!(matches!(error, HubError::Network { .. }), "{text}");
    assert!(
        text.contains("file `model.safetensors`, to http://") && text.contains("the same command"),
        "{text}"
    );
    assert_eq!(store.commits(), 0);
    assert!(there(&store, "main").is_empty());

    let server = serve(&store);
    let pushed = sent
        .push_as(&server, "hf://o/n", Visibility::OfOwner, &package())
        .unwrap();
    assert_eq!(names(&pushed.sent), ["adapter_config.json", "model.safetensors"]);
    assert_eq!(
        (pushed.committed.len(), puts(&server), store.commits()),
        (3, 1, 1)
    );
}

#[test]
fn a_commit_whose_answer_is_lost_is_not_made_twice() {
    for status in [502, 503, 504] {
        let (sent, store) = (Sent::new(), Store::new(TOKEN));
        let (inner, seen) = (store.clone(), AtomicUsize::new(0));
        let server = Server::start(move |asked| {
            let reply = inner.reply(asked);
            let is_first = asked.path.contains("/commit/") && seen.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first { Reply::new(status, "") } else { reply }
        });
        let pushed = sent.push(&server, "hf://o/n").unwrap();
        assert_eq!((store.commits(), pushed.committed.len()), (1, 4));
        assert_eq!(there(&store, "main"), sent.files());
    }
}

#[test]
fn a_hub_that_is_busy_is_asked_again_and_at_last_it_is_an_error() {
    for path in [
        "/create",
        "/preupload/",
        "/batch",
        "/storage/",
        "/commit/",
        "/verify",
    ] {
        let sent = Sent::new();
        let store = Store {
            verifies: true,
            ..Store::new(TOKEN)
        };
        let (inner, seen) = (store.clone(), AtomicUsize::new(0));
        let server = Server::start(move |asked| {
            let is_meant = asked.path.contains(path);
            if is_meant && seen.fetch_add(1, Ordering::SeqCst) < 2 {
                return Reply::new(429, "").with("retry-after", "0");
            }
            inner.reply(asked)
        });
        let _ = sent.push(&server, "hf://o/n").unwrap();
        assert_eq!(there(&store, "main"), sent.files(), "{path}");

        let (sent, inner) = (Sent::new(), Store::new(TOKEN));
        let server = Server::start(move |asked| match asked.path.contains(path) {
            true => Reply::new(503, ""),
            false => inner.reply(asked),
        });
        let outcome = sent.push(&server, "hf://o/n");
        match outcome {
            Err(HubError::Refused { status: 503, .. }) => {}
            Ok(_) if path == "/verify" => {}
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn addresses_that_have_expired_are_asked_for_again() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    let (inner, seen) = (store.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| {
        if asked.method == "PUT" && seen.fetch_add(1, Ordering::SeqCst) == 0 {
            return Reply::new(403, "<Error>Request has expired</Error>");
        }
        inner.reply(asked)
    });
    let _ = sent.push(&server, "hf://o/n").unwrap();
    let batches = server
        .paths()
        .iter()
        .filter(|path| path.ends_with("/batch"))
        .count();
    assert_eq!((batches, puts(&server)), (2, 2));
    assert_eq!(there(&store, "main"), sent.files());
}

#[test]
fn a_branch_that_is_not_there_is_created() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    let server = serve(&store);
    let pushed = sent.push(&server, "hf://o/n@runs%2Ffirst").unwrap();
    assert_eq!(there(&store, "runs/first"), sent.files());
    assert!(there(&store, "main").is_empty());
    assert_eq!(pushed.committed.len(), 4);
    assert!(
        server
            .paths()
            .iter()
            .any(|path| path.ends_with("/commit/runs%2Ffirst"))
    );
    let again = sent.push(&server, "hf://o/n@runs%2Ffirst").unwrap();
    assert!(again.committed.is_empty());
}

#[test]
fn what_should_be_private_is_never_sent_to_a_public_repository() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    let server = serve(&store);
    let private = |name: &str| sent.push_as(&server, name, Visibility::Private, &sent.package());
    let _ = private("hf://o/n").unwrap();
    assert!(store.is_private("o/n"));
    let _ = private("hf://o/n").unwrap();
    store.add("o/public", false, &[("README.md", b"x")]);
    let before = store.files("o/public", "main");
    let error = private("hf://o/public").unwrap_err();
    assert!(matches!(error, HubError::Public { .. }), "{error}");
    assert_eq!(store.files("o/public", "main"), before);
    assert_eq!((puts(&server), store.commits()), (1, 1));
}

#[test]
fn a_text_at_the_hub_stays_if_it_should() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    let server = serve(&store);
    let package = |text: &str| {
        let card = Local {
            name: "README.md".to_owned(),
            content: Content::Bytes(text.into()),
            stays: Some(|text| !text.starts_with("---")),
        };
        Package::read(vec![card]).unwrap()
    };
    let push = |text: &str| {
        sent.push_as(&server, "hf://o/n", Visibility::OfOwner, &package(text))
            .unwrap()
    };
    store.add("o/n", false, &[("README.md", b"written by hand")]);
    let pushed = push(CARD);
    assert_eq!(
        (pushed.kept, pushed.committed.len()),
        (vec!["README.md".to_owned()], 0)
    );
    assert_eq!(there(&store, "main")["README.md"], b"written by hand");
    store.add("o/n", false, &[("README.md", b"---\nolder: 1\n---\n")]);
    let pushed = push(CARD);
    assert_eq!((pushed.kept.len(), pushed.committed.len()), (0, 1));
    assert_eq!(there(&store, "main")["README.md"], CARD.as_bytes());
}

#[test]
fn a_file_that_is_written_during_the_push_is_an_error_that_names_it() {
    let change: [fn(&Path); 3] = [
        |path| fs::write(path, weights(39_000)).unwrap(),
        |path| fs::write(path, weights(40_001)).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for change in change {
        for moment in ["/batch", "PUT"] {
            let sent = Sent::new();
            let store = Store {
                chunk: 7_000,
                ..Store::new(TOKEN)
            };
            let (inner, path) = (store.clone(), Arc::new(sent.path("model.safetensors")));
            let written = Arc::clone(&path);
            let server = Server::start(move |asked| {
                if asked.path.ends_with(moment) || asked.method == moment {
                    change(&written);
                }
                inner.reply(asked)
            });
            let error = sent.push(&server, "hf://o/n").unwrap_err();
            assert!(
                matches!(&error, HubError::Changed { path: changed } if changed == &*path),
                "{error}"
            );
            assert_eq!(store.commits(), 0);
        }
    }
}
