//! Redirections, and that the token is not sent to their targets.

use crate::server::{Asked, Reply, Repo, Server};
use crate::trial::{TOKEN, Trial, check_model, model};
use cadft_hub::HubError;
use std::sync::Arc;

fn has_token(asked: &Asked) -> bool {
    asked.headers.iter().any(|(_, value)| value.contains(TOKEN)) || asked.path.contains(TOKEN)
}

/// A storage server for files in LFS.
fn storage(repo: &Repo) -> Server {
    let repo = repo.clone();
    Server::start(move |asked| repo.reply(asked))
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage() {
    let port = storage(&model());
    // The same machine under another name counts as another host.
    let host = port.address.replace("127.0.0.1", "localhost");
    for address in [port.address.clone(), host] {
        for is_without_tree in [false, true] {
            let trial = Trial::new();
            let repo = Repo {
                storage: address.clone(),
                is_without_tree,
                ..model()
            };
            let hub = Server::start(move |asked| repo.reply(asked));
            check_model(&trial.ask(&hub, "hf://o/n").unwrap());
            assert!(hub.asked().iter().all(has_token));
        }
    }
    assert!(port.asked().len() >= 4);
    assert!(!port.asked().iter().any(has_token), "{:?}", port.asked());
}

#[test]
fn no_redirection_of_any_request_carries_the_token_away() {
    let kinds: [fn(&Asked) -> bool; 4] = [
        Asked::is_info,
        Asked::is_tree,
        |asked| asked.path.contains("/resolve/"),
        |_| true,
    ];
    for status in [301, 302, 303, 307, 308] {
        for kind in kinds {
            let trial = Trial::new();
            let stranger = Server::start(|_| Reply::new(200, "{}"));
            let away = stranger.address.clone();
            let outcome = trial.ask_changed(&model(), "hf://o/n", move |asked, reply| {
                if kind(asked) {
                    Reply {
                        status,
                        ..Reply::redirect(&format!("{away}{}", asked.path))
                    }
                } else {
                    reply
                }
            });
            assert!(outcome.is_err());
            assert!(!stranger.asked().is_empty());
            assert!(!stranger.asked().iter().any(has_token), "{:?}", stranger.asked());
        }
    }
}

#[test]
fn a_redirection_back_does_not_bring_the_token_back() {
    let trial = Trial::new();
    let slot = Arc::new(std::sync::OnceLock::<String>::new());
    let home = Arc::clone(&slot);
    let stranger =
        Server::start(move |_| Reply::redirect(&format!("{}/delete-everything", home.get().unwrap())));
    let away = stranger.address.clone();
    let repo = model();
    let hub = Server::start(move |asked| {
        if asked.is_info() {
            Reply::redirect(&away)
        } else {
            repo.reply(asked)
        }
    });
    slot.set(hub.address.clone()).unwrap();
    assert!(trial.ask(&hub, "hf://o/n").is_err());
    let back = hub
        .asked()
        .into_iter()
        .find(|asked| asked.path == "/delete-everything")
        .unwrap();
    assert!(!has_token(&back));
}

#[test]
fn a_renamed_repository_is_followed_with_the_token() {
    let trial = Trial::new();
    let outcome = trial.ask_changed(&model(), "hf://old/name", |asked, reply| {
        if asked.path.contains("old/name") {
            Reply {
                status: 307,
                ..Reply::redirect(&asked.path.replace("old/name", "new/name"))
            }
        } else {
            reply
        }
    });
    check_model(&outcome.unwrap());
    assert!(trial.cache().join("models--old--name/refs/main").is_file());
}

#[test]
fn redirections_that_lead_nowhere_are_errors_with_the_address() {
    let locations = [
        "",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "\u{1b}[2J",
        "http://a b/",
    ];
    for kind in [Asked::is_info as fn(&Asked) -> bool, Asked::is_tree, |asked| {
        asked.is_get_of("config.json")
    }] {
        for location in locations {
            let trial = Trial::new();
            let outcome = trial.ask_changed(&model(), "hf://o/n", move |asked, reply| {
                if kind(asked) {
                    Reply::redirect(location)
                } else {
                    reply
                }
            });
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, HubError::Malformed { .. }),
                "{location:?}: {error}"
            );
            let text = error.to_string();
            let says_why = text.contains("a redirection") || location.contains('\u{1b}');
            assert!(
                says_why && text.contains("from http://127.0.0.1:"),
                "{location:?}: {text}"
            );
        }
        let trial = Trial::new();
        let outcome = trial.ask_changed(&model(), "hf://o/n", move |asked, reply| {
            if kind(asked) { Reply::new(302, "") } else { reply }
        });
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("without a `Location`"), "{error}");
    }
}

#[test]
fn redirections_end() {
    for kind in [Asked::is_info as fn(&Asked) -> bool, |asked| {
        asked.path.contains("config.json")
    }] {
        let trial = Trial::new();
        let outcome = trial.ask_changed(&model(), "hf://o/n", move |asked, reply| {
            if kind(asked) {
                Reply::redirect(&format!("{}x", asked.path))
            } else {
                reply
            }
        });
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, HubError::Malformed { .. })
                && error.to_string().contains("more than 4 redirections"),
            "{error}"
        );
    }
}
