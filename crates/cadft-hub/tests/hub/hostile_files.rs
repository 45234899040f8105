//! Files whose bytes, sizes, hashes or speed differ from what was announced.

use crate::server::{Asked, Reply, Repo, Step};
use crate::trial::{Trial, check_model, limits, model, paths_below};
use Change::{By, Header};
use cadft_hub::{HubError, Limits};
use std::path::PathBuf;
use std::time::Duration;

const WEIGHTS: &str = "/storage/";

/// A file, the name of the change, the change to its answer, and a part of the expected message.
type Case = (&'static str, &'static str, Change, &'static str);

/// A change to an answer.
#[derive(Clone, Copy)]
enum Change {
    /// Sets a header.
    Header(&'static str, &'static str),
    /// Applies a function to the answer.
    By(fn(Reply) -> Reply),
}

impl Change {
    fn applied(self, reply: Reply) -> Reply {
        match self {
            Self::Header(name, value) => reply.with(name, value),
            Self::By(change) => change(reply),
        }
    }
}

fn is_of(asked: &Asked, file: &str) -> bool {
    asked.method == "GET" && asked.path.contains(file) && !asked.is_api()
}

/// Each case must end in an error that gives the reason, with and without listings. Nothing wrong stays in the cache,
/// and the next attempt works.
fn check_cases(limits: &Limits, cases: &[Case]) {
    std::thread::scope(|scope| {
        for case in cases {
            for is_without_tree in [false, true] {
                let repo = Repo {
                    is_without_tree,
                    ..model()
                };
                scope.spawn(move || check_case(limits, &repo, case));
            }
        }
    });
}

fn check_case(limits: &Limits, repo: &Repo, (case, file, change, message): &Case) {
    let mut trial = Trial::new();
    trial.limits = limits.clone();
    let (file, change) = (*file, *change);
    let outcome = trial.ask_changed(repo, "hf://o/n", move |asked, reply| {
        if is_of(asked, file) {
            change.applied(reply)
        } else {
            reply
        }
    });
    let error = outcome.expect_err(case);
    assert!(error.to_string().contains(message), "{case}: {error}");
    let paths = paths_below(&trial.cache());
    assert!(paths.iter().all(|path| !path.ends_with("refs/main")), "{case}");
    trial.limits = crate::trial::limits();
    let outcome = trial.ask_changed(repo, "hf://o/n", |_, reply| reply);
    check_model(&outcome.unwrap_or_else(|error| panic!("{case}: {error}")));
    assert_eq!(trial.parts(), Vec::<PathBuf>::new(), "{case}");
}

fn half(reply: &Reply) -> Vec<u8> {
    let body = reply.body();
    body[..body.len() / 2].to_vec()
}

fn without_size(reply: Reply, steps: Vec<Step>) -> Reply {
    reply.without("content-length").with_steps(steps)
}

fn damaged(reply: Reply) -> Reply {
    let mut body = reply.body();
    *body.last_mut().unwrap() ^= 1;
    reply.with_body(body)
}

#[test]
fn bytes_that_are_not_what_was_listed_are_refused() {
    check_cases(
        &limits(),
        &[
            ("damaged weights", WEIGHTS, By(damaged), "has not the hash"),
            (
                "damaged configuration",
                "config.json",
                By(damaged),
                "has not the hash",
            ),
            (
                "longer weights",
                WEIGHTS,
                By(|reply| {
                    let body = [reply.body(), vec![0]].concat();
                    reply.with_body(body)
                }),
                "bytes are sent, where the Hub lists",
            ),
            (
                "shorter configuration",
                "config.json",
                By(|reply| {
                    let body = half(&reply);
                    reply.with_body(body)
                }),
                "bytes are ",
            ),
            (
                "an empty file",
                WEIGHTS,
                By(|reply| reply.with_body("")),
                "bytes are sent, where the Hub lists",
            ),
            (
                "compressed",
                WEIGHTS,
                Header("content-encoding", "gzip"),
                "compressed as `gzip`",
            ),
            (
                "compressed otherwise",
                "config.json",
                Header("content-encoding", "br"),
                "compressed as `br`",
            ),
            (
                "a part that was not asked for",
                WEIGHTS,
                By(|reply| Reply { status: 206, ..reply }),
                "a part of the file",
            ),
            (
                "no content",
                "config.json",
                By(|reply| Reply {
                    status: 204,
                    ..reply.with_body("")
                }),
                "answers 204",
            ),
            (
                "not there any more",
                WEIGHTS,
                By(|_| Reply::new(403, "<Error>expired</Error>")),
                "answers 403",
            ),
            (
                "length is no number",
                WEIGHTS,
                By(|reply| {
                    let steps = reply.steps.clone();
                    reply.with("content-length", "-5").with_steps(steps)
                }),
                "file `model.safetensors`",
            ),
        ],
    );
}

#[test]
fn what_the_hub_says_of_a_file_must_stay_the_same() {
    check_cases(
        &limits(),
        &[
            (
                "another content",
                "config.json",
                Header("etag", "\"0123456789abcdef0123456789abcdef01234567\""),
                "is sent, where the Hub lists",
            ),
            (
                "absolute etag",
                "config.json",
                Header("etag", "\"/tmp/escaped\""),
                "the `ETag`",
            ),
            (
                "etag above",
                "config.json",
                Header("etag", "\"../../escaped\""),
                "the `ETag`",
            ),
            (
                "etag with escapes",
                "config.json",
                Header("etag", "\"\u{1b}[2J\""),
                "file `config.json`",
            ),
            (
                "another size",
                "config.json",
                Header("x-linked-size", "7"),
                "7 bytes are announced",
            ),
            (
                "a size that is none",
                "config.json",
                Header("x-linked-size", "-7"),
                "the size `-7`",
            ),
        ],
    );
}

#[test]
fn a_file_without_end_is_cut_off() {
    const ENDLESS: fn(Reply) -> Reply =
        |reply| without_size(reply, vec![Step::Forever(vec![7; 64 << 10], Duration::ZERO)]);
    let message = "more bytes are sent";
    check_cases(
        &limits(),
        &[
            ("weights", WEIGHTS, By(ENDLESS), message),
            ("configuration", "config.json", By(ENDLESS), message),
        ],
    );
}

#[test]
fn a_file_that_comes_too_slowly_is_given_up() {
    let limits = Limits {
        progress: Duration::from_millis(100),
        ..limits()
    };
    let slow = |reply: Reply| reply.with_steps(vec![Step::Forever(vec![7], Duration::from_millis(5))]);
    check_cases(&limits, &[("a byte now and then", WEIGHTS, By(slow), "too slow")]);
}

#[test]
fn silence_in_a_file_ends() {
    const STALLS: fn(Reply) -> Reply = |reply| {
        let half = half(&reply);
        reply.with_steps(vec![Step::Send(half), Step::Pause(Duration::from_secs(5))])
    };
    let limits = Limits {
        silence: Duration::from_millis(300),
        retries: 1,
        ..limits()
    };
    check_cases(
        &limits,
        &[
            ("weights", WEIGHTS, By(STALLS), "timeout"),
            ("configuration", "config.json", By(STALLS), "timeout"),
        ],
    );
}

#[test]
fn connections_that_always_break_are_given_up() {
    check_cases(
        &limits(),
        &[
            (
                "half of the configuration",
                "config.json",
                By(|reply| {
                    let half = half(&reply);
                    reply.with_steps(vec![Step::Send(half)])
                }),
                "after",
            ),
            (
                "half of it without a size",
                "config.json",
                By(|reply| {
                    let half = half(&reply);
                    without_size(reply, vec![Step::Send(half)])
                }),
                "file `config.json`",
            ),
            (
                "nothing of the weights",
                WEIGHTS,
                By(|reply| reply.with_steps(vec![])),
                "after 0 bytes",
            ),
            (
                "nothing without a size",
                WEIGHTS,
                By(|reply| without_size(reply, vec![])),
                "after 0 bytes",
            ),
        ],
    );
}

/// Downloads a model from a mirror without listings; `change` is applied to the answer for the configuration.
fn of_mirror(trial: &Trial, change: Change) -> Result<PathBuf, HubError> {
    let repo = Repo {
        is_without_tree: true,
        ..model()
    };
    trial.ask_changed(&repo, "hf://o/n", move |asked, reply| {
        if asked.path.ends_with("config.json") {
            change.applied(reply)
        } else {
            reply
        }
    })
}

#[test]
fn a_mirror_chooses_no_path_by_its_etag_or_size() {
    for header in ["etag", "x-linked-etag"] {
        for tag in [
            "\"/tmp/escaped\"",
            "\"../../../escaped\"",
            "\"..\"",
            "\"\"",
            "\"a/b\"",
            "\"a\\b\"",
            "\"a b\"",
        ] {
            let error = of_mirror(&Trial::new(), Header(header, tag)).unwrap_err();
            assert!(
                matches!(error, HubError::Malformed { .. }) && error.to_string().contains("the `ETag`"),
                "{tag}: {error}"
            );
        }
    }
    let outcome = of_mirror(&Trial::new(), By(|reply| reply.without("etag")));
    assert!(outcome.unwrap_err().to_string().contains("no `ETag`"));
}

#[test]
fn a_mirror_may_name_contents_as_it_likes() {
    let trial = Trial::new();
    let outcome = of_mirror(&trial, Header("etag", "W/\"v1.2_of-3\""));
    check_model(&outcome.unwrap());
    assert!(trial.cache().join("models--o--n/blobs/v1.2_of-3").is_file());
}

#[test]
fn a_file_of_another_commit_is_refused() {
    let change = By(|reply| reply.with("x-repo-commit", "f".repeat(40)));
    let outcome = of_mirror(&Trial::new(), change);
    assert!(outcome.unwrap_err().to_string().contains("one of the commit"));
}

#[test]
fn a_configuration_is_not_larger_than_any_is() {
    let repo = Repo::new(&[("config.json", &vec![b' '; 70_000]), ("model.safetensors", b"x")]);
    for is_without_tree in [false, true] {
        let repo = Repo {
            is_without_tree,
            ..repo.clone()
        };
        let error = Trial::new()
            .ask_changed(&repo, "hf://o/n", |_, reply| reply)
            .unwrap_err();
        assert!(error.to_string().contains("has at most 65536"), "{error}");
    }
}

#[test]
fn a_file_larger_than_the_disk_is_not_begun() {
    let trial = Trial::new();
    let huge = |asked: &Asked, reply: Reply| {
        let text = |reply: &Reply| String::from_utf8(reply.body()).unwrap();
        if asked.is_tree() {
            let bytes = text(&reply).replace("40076", "4611686018427387904");
            return reply.with_body(bytes);
        }
        let is_weights = asked.path.contains("model.safetensors") || asked.path.contains(WEIGHTS);
        if is_weights {
            reply.without("content-length").without("x-linked-size")
        } else {
            reply
        }
    };
    let error = trial.ask_changed(&model(), "hf://o/n", huge).unwrap_err();
    assert!(
        matches!(&error, HubError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    assert!(trial.parts().is_empty());
}
