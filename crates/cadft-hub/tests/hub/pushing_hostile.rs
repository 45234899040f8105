//! Sending to a Hub that refuses, is not what it should be, or is hostile.

use crate::pushing::{CARD, Sent, serve};
use crate::server::{Asked, Reply, Server, Step};
use crate::store::Store;
use crate::trial::{TOKEN, Trial, spec, weights};
use cadft_hub::push::{Content, Local, Package, Target, Visibility};
use cadft_hub::{Hub, HubError};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

/// Pushes to a server whose answers `change` makes; it may ask for the honest one. The outcome must be an error, without a
/// commit.
fn refused_of(
    store: &Store,
    change: impl Fn(&Asked, &dyn Fn() -> Reply) -> Reply + Send + Sync + 'static,
) -> (String, HubError) {
    let inner = store.clone();
    let server = Server::start(move |asked| change(asked, &|| inner.reply(asked)));
    let error = Sent::new().push(&server, "hf://o/n").unwrap_err();
    assert_eq!(store.commits(), 0);
    (cadft_hub::with_hints(&error), error)
}

fn refused(
    change: impl Fn(&Asked, &dyn Fn() -> Reply) -> Reply + Send + Sync + 'static,
) -> (String, HubError) {
    let store = Store {
        verifies: true,
        ..Store::new(TOKEN)
    };
    refused_of(&store, change)
}

/// Changes the JSON of an answer.
fn edited(reply: &Reply, edit: impl Fn(&mut Value)) -> Reply {
    let mut value: Value = serde_json::from_slice(&reply.body()).unwrap();
    edit(&mut value);
    reply.clone().with_body(value.to_string())
}

/// Parts of the addresses that are posted to.
const POSTED: [&str; 6] = [
    "/create",
    "/validate-yaml",
    "/preupload/",
    "/batch",
    "/commit/",
    "/verify",
];

#[test]
fn a_refused_token_gets_a_hint_about_what_it_needs() {
    for (status, path, part) in [
        (401, "/create", "`HF_TOKEN`"),
        (403, "/create", "write access"),
        (402, "/preupload/", "no room"),
        (401, "/preupload/", "`HF_TOKEN`"),
        (403, "/batch", "write access"),
        (403, "/commit/", "write access"),
        (404, "/preupload/", "the owner, the name"),
    ] {
        let (text, error) = refused(move |asked, honest| match asked.path.contains(path) {
            true => Reply::new(status, r#"{"error": "You may not do this"}"#),
            false => honest(),
        });
        assert!(
            text.contains("You may not do this") && text.contains(part),
            "{text}"
        );
        assert!(matches!(error, HubError::Refused { status: found, .. } if found == status));
    }
}

#[test]
fn a_token_for_one_repository_need_not_create_it() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    store.add("o/n", true, &[]);
    let inner = store.clone();
    let server = Server::start(move |asked| match asked.path.contains("/create") {
        true => Reply::new(403, r#"{"error": "no"}"#),
        false => inner.reply(asked),
    });
    assert_eq!(sent.push(&server, "hf://o/n").unwrap().committed.len(), 4);
}

#[test]
fn nothing_is_asked_without_a_token_or_network_or_with_a_name_that_is_none() {
    let (trial, sent) = (Trial::new(), Sent::new());
    let store = Store::new(TOKEN);
    let server = serve(&store);
    let hub = trial.hub(&server.address);
    let push = |hub: &Hub, name: &str| {
        let target = Target {
            spec: spec(name),
            visibility: Visibility::OfOwner,
            message: "m".to_owned(),
        };
        hub.push(&target, &sent.package(), &|_, _| {}).unwrap_err()
    };
    let without = Hub {
        token: None,
        ..hub.clone()
    };
    assert!(matches!(push(&without, "hf://o/n"), HubError::NoToken { .. }));
    let offline = Hub {
        is_offline: true,
        ..hub.clone()
    };
    assert!(matches!(push(&offline, "hf://o/n"), HubError::CannotSend { .. }));
    let commit = format!("hf://o/n@{}", "0a".repeat(20));
    for name in ["hf://datasets/o/n", "hf://datasets/o/n/f.jsonl", &commit] {
        let error = push(&hub, name);
        assert!(matches!(error, HubError::Target { .. }), "{error}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn what_was_created_as_something_else_is_refused() {
    let (text, _) = refused(|asked, honest| match asked.path.contains("/create") {
        true => edited(&honest(), |value| {
            value["url"] = "https://huggingface.co/datasets/o/n".into();
        }),
        false => honest(),
    });
    assert!(text.contains("which is not a model"), "{text}");
    // A name that only a data set has.
    let (text, _) = refused(|asked, honest| match asked.path.contains("/api/models/") {
        true => Reply::new(404, "").with("x-error-message", "Repository not found"),
        false => honest(),
    });
    assert!(text.contains("Repository not found"), "{text}");
}

#[test]
fn no_redirection_takes_the_token_or_the_files_away() {
    for status in [301, 302, 303, 307, 308] {
        for path in POSTED.into_iter().chain(["/storage/"]) {
            let stranger = Server::start(|_| Reply::new(200, "{}"));
            let away = stranger.address.clone();
            let (_, error) = refused(move |asked, honest| match asked.path.contains(path) {
                true => Reply {
                    status,
                    ..Reply::redirect(&format!("{away}{}", asked.path))
                },
                false => honest(),
            });
            assert!(
                matches!(error, HubError::Malformed { .. } | HubError::Refused { .. }),
                "{error}"
            );
            assert!(stranger.asked().is_empty(), "{status} {path}");
        }
    }
}

#[test]
fn a_renamed_repository_is_followed_on_the_same_host() {
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    store.add("o/new", false, &[]);
    let inner = store.clone();
    let server = Server::start(move |asked| {
        if asked.path.contains("/create") {
            return Reply::new(409, r#"{"error": "You already created this model repo"}"#);
        }
        if asked.path.contains("o/old") {
            return Reply {
                status: 307,
                ..Reply::redirect(&asked.path.replace("o/old", "o/new"))
            };
        }
        inner.reply(asked)
    });
    assert_eq!(sent.push(&server, "hf://o/old").unwrap().committed.len(), 4);
    assert_eq!(store.files("o/new", "main"), sent.files());
}

#[test]
fn the_token_does_not_go_to_a_storage_or_a_check_elsewhere() {
    let sent = Sent::new();
    let elsewhere = Store::new("");
    let storage = serve(&elsewhere);
    let store = Store {
        storage: storage.address.clone(),
        verifies: true,
        ..Store::new(TOKEN)
    };
    let (inner, away) = (store.clone(), storage.address.clone());
    let server = Server::start(move |asked| match asked.path.ends_with("/batch") {
        true => edited(&inner.reply(asked), |value| {
            value["objects"][0]["actions"]["verify"]["href"] = format!("{away}/verify").into();
        }),
        false => inner.reply(asked),
    });
    // The commit misses the object, which went to the other machine.
    let error = sent.push(&server, "hf://o/n").unwrap_err();
    assert!(error.to_string().contains("an object is missing"), "{error}");
    let asked = storage.asked();
    let methods: Vec<_> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["PUT", "POST"]);
    for asked in asked {
        assert!(
            asked.headers.iter().all(|(_, value)| !value.contains(TOKEN)),
            "{asked:?}"
        );
    }
}

#[test]
fn addresses_that_lead_into_the_users_network_or_disk_get_nothing() {
    for address in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "/storage/x",
        "",
        "http://10.0.0.1/x?Signature=s3cret",
        "http://169.254.169.254/latest?Signature=s3cret",
        "http://192.168.0.1/x",
        "http://[fe80::1]/x",
    ] {
        for (place, chunk) in [("upload", 0), ("verify", 0), ("part", 7_000), ("upload", 7_000)] {
            let store = Store {
                chunk,
                verifies: true,
                ..Store::new(TOKEN)
            };
            let inner = store.clone();
            let server = Server::start(move |asked| match asked.path.ends_with("/batch") {
                true => edited(&inner.reply(asked), |value| {
                    let actions = &mut value["objects"][0]["actions"];
                    match place {
                        "part" => actions["upload"]["header"]["00002"] = address.into(),
                        place => actions[place]["href"] = address.into(),
                    }
                }),
                false => inner.reply(asked),
            });
            let error = Sent::new().push(&server, "hf://o/n").unwrap_err();
            let text = error.to_string();
            assert!(text.contains("names an address for the file that"), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
            assert!(
                server.asked().iter().all(|asked| asked.method != "PUT"),
                "{address} {place}"
            );
        }
    }
}

#[test]
fn answers_that_are_none_are_errors() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 15] = [
        ("/preupload/", |value| *value = json!({})),
        ("/preupload/", |value| value["files"] = json!([])),
        ("/preupload/", |value| {
            value["files"][0]["uploadMode"] = "xet".into();
        }),
        // What the parser of JSON repeats of an unknown mode.
        ("/preupload/", |value| {
            value["files"][0]["uploadMode"] = "x\u{1b}[2J\n\u{202e}".into();
        }),
        ("/preupload/", |value| value["files"][0]["path"] = "../x".into()),
        ("/batch", |value| value["objects"] = json!([])),
        ("/batch", |value| value["objects"][0]["oid"] = "x".into()),
        ("/batch", |value| value["objects"][0]["size"] = 1.into()),
        ("/batch", |value| {
            value["objects"][0]["actions"]["upload"] = json!({ "href": 1 });
        }),
        ("/batch", |value| {
            value["objects"][0]["actions"]["upload"]["header"] = json!({ "chunk_size": 0 });
        }),
        ("/batch", |value| {
            value["objects"][0]["actions"]["upload"]["header"] = json!({ "chunk_size": "9" });
        }),
        ("/batch", |value| {
            value["objects"][0]["error"] = json!({ "code": 422, "message": "no" });
        }),
        ("/revision/", |value| value["sha"] = "../x".into()),
        ("/commit/", |value| value["commitOid"] = "x\u{1b}[2J".into()),
        ("/commit/", |value| *value = json!([])),
    ];
    for (path, edit) in edits {
        let store = Store::new(TOKEN);
        let inner = store.clone();
        let server = Server::start(move |asked| match asked.path.contains(path) {
            true => edited(&inner.reply(asked), edit),
            false => inner.reply(asked),
        });
        let error = Sent::new().push(&server, "hf://o/n").unwrap_err();
        assert!(
            matches!(error, HubError::Malformed { .. } | HubError::Refused { .. }),
            "{path}: {error}"
        );
    }
}

#[test]
fn answers_without_end_are_ended() {
    for path in POSTED {
        let (text, _) = refused(move |asked, honest| match asked.path.contains(path) {
            true => {
                let steps = vec![Step::Forever(vec![b' '; 64 << 10], Duration::ZERO)];
                Reply::new(200, "").without("content-length").with_steps(steps)
            }
            false => honest(),
        });
        assert!(text.contains("more than 1048576 bytes"), "{path}: {text}");
    }
    // What a storage says is not read.
    let sent = Sent::new();
    let store = Store::new(TOKEN);
    let inner = store.clone();
    let server = Server::start(move |asked| {
        let reply = inner.reply(asked);
        match asked.method == "PUT" {
            true => reply
                .without("content-length")
                .with_steps(vec![Step::Forever(vec![b' '; 64 << 10], Duration::ZERO)]),
            false => reply,
        }
    });
    assert!(sent.push(&server, "hf://o/n").is_ok());
}

#[test]
fn an_object_that_arrived_wrong_is_noticed_when_it_is_verified() {
    let (text, error) = refused(|asked, honest| match asked.path.contains("/verify") {
        true => Reply::new(422, r#"{"message": "the object has another digest"}"#),
        false => honest(),
    });
    assert!(matches!(error, HubError::Refused { status: 422, .. }));
    assert!(
        text.contains("file `model.safetensors`") && text.contains("another digest"),
        "{text}"
    );
}

#[test]
fn a_part_without_a_tag_and_a_large_file_for_the_commit_are_refused() {
    let store = Store {
        chunk: 7_000,
        ..Store::new(TOKEN)
    };
    let (text, _) = refused_of(&store, |asked, honest| match asked.method == "PUT" {
        true => honest().without("etag"),
        false => honest(),
    });
    assert!(text.contains("without an `ETag`"), "{text}");
    let sent = Sent::new();
    let mut trial = Trial::new();
    trial.limits.commit_bytes = 1000;
    let store = Store::new(TOKEN);
    let inner = store.clone();
    let server = Server::start(move |asked| match asked.path.contains("/preupload/") {
        true => edited(&inner.reply(asked), |value| {
            for file in value["files"].as_array_mut().unwrap() {
                file["uploadMode"] = "regular".into();
            }
        }),
        false => inner.reply(asked),
    });
    let target = Target {
        spec: spec("hf://o/n"),
        visibility: Visibility::OfOwner,
        message: "m".to_owned(),
    };
    let outcome = trial
        .hub(&server.address)
        .push(&target, &sent.package(), &|_, _| {});
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("in the commit: at most 1000"), "{text}");
}

#[test]
fn ignored_files_and_a_refused_card_are_errors_before_anything_is_sent() {
    let ignored = |asked: &Asked, honest: &dyn Fn() -> Reply| match asked.path.contains("/preupload/") {
        true => edited(&honest(), |value| value["files"][0]["shouldIgnore"] = true.into()),
        false => honest(),
    };
    let (text, error) = refused(ignored);
    assert!(matches!(error, HubError::Ignored { .. }), "{text}");
    let (sent, store) = (Sent::new(), Store::new(TOKEN));
    fs::write(
        sent.path("README.md"),
        CARD.replace("tags:", "license: \"no-such-licence\"\ntags:"),
    )
    .unwrap();
    let server = serve(&store);
    let error = sent.push(&server, "hf://o/n").unwrap_err();
    let text = cadft_hub::with_hints(&error);
    assert!(
        matches!(error, HubError::Card { .. }) && text.contains("must be one of"),
        "{text}"
    );
    assert!(server.asked().iter().all(|asked| asked.method != "PUT"));
    assert_eq!(store.commits(), 0);
    // A mirror without the check takes the card as it is.
    let inner = store.clone();
    let mirror = Server::start(move |asked| match asked.path.contains("validate-yaml") {
        true => Reply::new(404, ""),
        false => inner.reply(asked),
    });
    assert!(sent.push(&mirror, "hf://o/n").is_ok());
}

#[test]
fn what_a_hub_repeats_of_a_token_is_not_shown() {
    let said = format!(r#"{{"error": "no user has {TOKEN}", "errors": [{{"message": "{TOKEN}"}}]}}"#);
    for (status, path) in [(403, "/create"), (400, "/validate-yaml"), (422, "/commit/")] {
        let said = said.clone();
        let (text, _) = refused(move |asked, honest| match asked.path.contains(path) {
            true => Reply::new(status, said.clone()),
            false => honest(),
        });
        assert!(text.contains("[secret]"), "{text}");
    }
}

#[test]
fn a_connection_that_takes_nothing_more_is_given_up() {
    let mut trial = Trial::new();
    trial.limits.silence = Duration::from_millis(300);
    trial.limits.retries = 1;
    let store = Store::new(TOKEN);
    let inner = store.clone();
    // Larger than what the system takes for a connection whose other end does not read.
    let bytes = weights(64 << 20);
    let server = Server::start_cutting(
        move |asked| inner.reply(asked),
        |asked| {
            if asked.method == "PUT" {
                std::thread::sleep(Duration::from_secs(5));
            }
            None
        },
    );
    let file = Local {
        name: "model.safetensors".to_owned(),
        content: Content::Bytes(bytes),
        stays: None,
    };
    let target = Target {
        spec: spec("hf://o/n"),
        visibility: Visibility::OfOwner,
        message: "m".to_owned(),
    };
    let package = Package::read(vec![file]).unwrap();
    let start = std::time::Instant::now();
    let outcome = trial.hub(&server.address).push(&target, &package, &|_, _| {});
    assert!(matches!(outcome, Err(HubError::Network { .. })), "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(30));
}
