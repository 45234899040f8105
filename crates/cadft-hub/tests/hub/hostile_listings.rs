//! JSON answers that are wrong, endless, slow or huge, or that name forbidden files.

use crate::server::{Asked, COMMIT, Entry, Reply, Repo, Step};
use crate::trial::{TOKEN, Trial, check_model, limits, model, paths_below};
use cadft_hub::{Hint, HubError, Limits};
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The name of a change, the change to an answer, and a part of the expected message.
type Case = (&'static str, fn(&Asked, Reply) -> Reply, &'static str);

/// Each case must end in an error that gives the reason. Nothing left behind blocks the next attempt, which works.
fn check_cases(limits: &Limits, cases: &[Case]) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || check_case(limits, case));
        }
    });
}

fn check_case(limits: &Limits, (case, change, message): &Case) {
    let mut trial = Trial::new();
    trial.limits = limits.clone();
    let error = trial.ask_changed(&model(), "hf://o/n", *change).expect_err(case);
    assert!(error.to_string().contains(message), "{case}: {error}");
    assert!(
        paths_below(&trial.cache())
            .iter()
            .all(|path| !path.ends_with("refs/main")),
        "{case}"
    );
    trial.limits = crate::trial::limits();
    let outcome = trial.ask_changed(&model(), "hf://o/n", |_, reply| reply);
    check_model(&outcome.unwrap_or_else(|error| panic!("{case}: {error}")));
}

fn info(text: &str) -> Reply {
    Reply::new(200, text)
}

#[test]
fn what_is_no_answer_about_a_repository_is_refused() {
    fn with_sha(sha: &str) -> Reply {
        info(&serde_json::json!({ "sha": sha, "siblings": [] }).to_string())
    }
    macro_rules! on_info {
        ($reply:expr) => {
            |asked, reply| if asked.is_info() { $reply } else { reply }
        };
    }
    let cases: [Case; 12] = [
        ("sha absolute", on_info!(with_sha("/tmp/escaped")), "`sha`"),
        ("sha above", on_info!(with_sha("../../../../escaped")), "`sha`"),
        ("sha short", on_info!(with_sha("0123")), "`sha`"),
        ("sha with escapes", on_info!(with_sha("\u{1b}]0;x\u{7}")), "`sha`"),
        ("no sha", on_info!(info("{}")), "missing field `sha`"),
        ("a list", on_info!(info("[]")), "is not what it should be"),
        (
            "a page for people",
            on_info!(info("<!doctype html><title>Sign in</title>")),
            "is not what it should be",
        ),
        ("nothing", on_info!(info("")), "is not what it should be"),
        (
            "deep",
            on_info!(info(&"[".repeat(200_000))),
            "is not what it should be",
        ),
        (
            "compressed",
            |asked, reply| {
                if asked.is_info() {
                    reply.with("content-encoding", "gzip")
                } else {
                    reply
                }
            },
            "compressed as `gzip`",
        ),
        (
            "huge",
            on_info!(info(&" ".repeat(2 << 20))),
            "more than 1048576 bytes",
        ),
        (
            "no size, no end",
            on_info!(
                Reply::new(200, "")
                    .without("content-length")
                    .with_steps(vec![Step::Forever(vec![b' '; 64 << 10], MILLISECOND)])
            ),
            "more than 1048576 bytes",
        ),
    ];
    check_cases(&limits(), &cases);
}

/// Replaces the body by `step`, with a long `content-length`, if `is_meant`.
fn stead(is_meant: bool, reply: Reply, step: Step) -> Reply {
    if is_meant {
        reply.with("content-length", "100000").with_steps(vec![step])
    } else {
        reply
    }
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_not_waited_for() {
    const BLANKS: fn() -> Step = || Step::Forever(b" ".to_vec(), Duration::from_millis(30));
    let limits = Limits {
        listing: Duration::from_millis(300),
        ..limits()
    };
    let message = "takes more than 0.3 s";
    let cases: [Case; 2] = [
        (
            "info",
            |asked, reply| stead(asked.is_info(), reply, BLANKS()),
            message,
        ),
        (
            "tree",
            |asked, reply| stead(asked.is_tree(), reply, BLANKS()),
            message,
        ),
    ];
    check_cases(&limits, &cases);
}

#[test]
fn silence_ends() {
    const NOTHING: fn() -> Step = || Step::Pause(Duration::from_secs(5));
    fn late(is_meant: bool, reply: Reply) -> Reply {
        if is_meant {
            std::thread::sleep(Duration::from_secs(5));
        }
        reply
    }
    let limits = Limits {
        silence: Duration::from_millis(300),
        answer: Duration::from_millis(300),
        ..limits()
    };
    let cases: [Case; 4] = [
        (
            "in info",
            |asked, reply| stead(asked.is_info(), reply, NOTHING()),
            "timeout",
        ),
        (
            "in tree",
            |asked, reply| stead(asked.is_tree(), reply, NOTHING()),
            "timeout",
        ),
        (
            "before info",
            |asked, reply| late(asked.is_info(), reply),
            "timeout",
        ),
        (
            "before tree",
            |asked, reply| late(asked.is_tree(), reply),
            "timeout",
        ),
    ];
    check_cases(&limits, &cases);
}

#[test]
fn a_hub_that_says_no_is_quoted_without_what_it_must_not_say() {
    fn refuse(asked: &Asked, reply: Reply, status: u16) -> Reply {
        if asked.is_info() {
            Reply::new(status, "<html>")
                .with("x-error-message", format!("no \u{9b}2J for {TOKEN}"))
                .with("retry-after", "999999999")
        } else {
            reply
        }
    }
    let cases: [Case; 9] = [
        ("400", |asked, reply| refuse(asked, reply, 400), "answers 400"),
        ("401", |asked, reply| refuse(asked, reply, 401), "answers 401"),
        ("403", |asked, reply| refuse(asked, reply, 403), "answers 403"),
        ("404", |asked, reply| refuse(asked, reply, 404), "answers 404"),
        ("429", |asked, reply| refuse(asked, reply, 429), "answers 429"),
        ("500", |asked, reply| refuse(asked, reply, 500), "answers 500"),
        ("503", |asked, reply| refuse(asked, reply, 503), "answers 503"),
        ("304", |asked, reply| refuse(asked, reply, 304), "answers 304"),
        ("204", |asked, reply| refuse(asked, reply, 204), "answers 204"),
    ];
    check_cases(&limits(), &cases);
    let trial = Trial::new();
    let busy = trial
        .ask_changed(&model(), "hf://o/n", |asked, reply| refuse(asked, reply, 503))
        .unwrap_err();
    assert!(!busy.is_input() && cadft_hub::with_hints(&busy).contains("try again later"));
}

#[test]
fn a_hub_that_is_busy_for_a_while_is_asked_again() {
    for status in [429, 500, 502, 503, 504] {
        let trial = Trial::new();
        let asked_for = std::sync::Mutex::new(std::collections::BTreeMap::new());
        let outcome = trial.ask_changed(&model(), "hf://o/n", move |asked, reply| {
            let mut counts = asked_for.lock().unwrap();
            let count = counts
                .entry((asked.method.clone(), asked.path.clone()))
                .or_insert(0);
            *count += 1;
            if *count == 1 {
                Reply::new(status, "").with("retry-after", "1")
            } else {
                reply
            }
        });
        check_model(&outcome.unwrap());
    }
}

#[test]
fn another_commit_than_the_one_that_was_named_is_refused() {
    let trial = Trial::new();
    let other = "f".repeat(40);
    let error = trial
        .ask_changed(&model(), &format!("hf://o/n@{other}"), |_, reply| reply)
        .unwrap_err();
    assert!(error.to_string().contains("another commit"), "{error}");
    let outcome = trial.ask_changed(&model(), &format!("hf://o/n@{COMMIT}"), |_, reply| reply);
    check_model(&outcome.unwrap());
    assert!(!trial.cache().join("models--o--n/refs").exists());
}

/// A data set whose first file is called `name`.
fn named(name: &str) -> Repo {
    let mut repo = Repo::new(&[("a.jsonl", b"{}"), ("b.jsonl", b"{}")]);
    repo.entries[0] = Entry {
        name: name.to_owned(),
        ..repo.entries[0].clone()
    };
    repo
}

#[test]
fn a_name_of_a_file_never_leads_out_of_the_snapshot() {
    for name in [
        "../escaped.jsonl",
        "/tmp/escaped.jsonl",
        "a/../../escaped.jsonl",
        "a//b.jsonl",
        "./a.jsonl",
        "..\\escaped.jsonl",
        "C:\\escaped.jsonl",
        "C:escaped.jsonl",
        "a\u{0}.jsonl",
        "a\u{1b}[2J.jsonl",
        "a\n.jsonl",
        "\u{202e}lnosj.jsonl",
        &format!("{}.jsonl", "a".repeat(300)),
        &format!("{}.jsonl", "a/".repeat(600)),
    ] {
        for is_without_tree in [false, true] {
            let trial = Trial::new();
            let repo = Repo {
                is_without_tree,
                ..named(name)
            };
            match trial.ask_changed(&repo, "hf://datasets/a/b", |_, reply| reply) {
                Err(error @ HubError::Malformed { .. }) => {
                    assert!(error.to_string().contains("the name `"), "{error}");
                    assert!(
                        !paths_below(&trial.cache())
                            .iter()
                            .any(|path| path.ends_with("b.jsonl")),
                        "{name:?}"
                    );
                }
                // A part that begins with a dot makes the file hidden, so it is not a data file.
                Ok(directory) => assert!(
                    name.split('/').any(|part| part.starts_with('.')),
                    "{name:?} in {directory:?}"
                ),
                Err(error) => panic!("{name:?}: {error}"),
            }
        }
    }
}

#[test]
fn an_index_names_files_of_the_repository_only() {
    for name in [
        "../model.safetensors",
        "/etc/hostname",
        "absent.safetensors",
        "a\u{1b}.safetensors",
    ] {
        let index = serde_json::json!({ "weight_map": { "w": name } }).to_string();
        let repo = Repo::new(&[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", index.as_bytes()),
        ]);
        let error = Trial::new()
            .ask_changed(&repo, "hf://o/n", |_, reply| reply)
            .unwrap_err();
        assert!(error.to_string().contains("does not hold"), "{error}");
    }
    for index in [
        "{}",
        "[]",
        r#"{"weight_map": {}}"#,
        r#"{"weight_map": {"a": 1}}"#,
        r#"{"weight_map": ["#,
    ] {
        let repo = Repo::new(&[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", index.as_bytes()),
        ]);
        let error = Trial::new()
            .ask_changed(&repo, "hf://o/n", |_, reply| reply)
            .unwrap_err();
        assert!(error.to_string().contains("is not an index"), "{error}");
    }
}

#[test]
fn two_names_that_differ_in_case_are_two_files_or_an_error() {
    let repo = Repo::new(&[("A.jsonl", b"[1]"), ("a.jsonl", b"[2]")]);
    let trial = Trial::new();
    match trial.ask_changed(&repo, "hf://datasets/a/b", |_, reply| reply) {
        Ok(directory) => {
            assert_eq!(std::fs::read(directory.join("A.jsonl")).unwrap(), b"[1]");
            assert_eq!(std::fs::read(directory.join("a.jsonl")).unwrap(), b"[2]");
        }
        Err(error) => assert!(
            error.to_string().contains("another file of the repository"),
            "{error}"
        ),
    }
}

#[test]
fn a_file_that_is_a_directory_too_is_an_error() {
    let repo = Repo::new(&[("a.jsonl", b"{}"), ("a.jsonl/b.jsonl", b"{}")]);
    assert!(
        Trial::new()
            .ask_changed(&repo, "hf://datasets/a/b", |_, reply| reply)
            .is_err()
    );
}

#[test]
fn listings_are_bounded_in_files_and_pages() {
    let names: Vec<String> = (0..4000).map(|number| format!("{number}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    for is_without_tree in [false, true] {
        let repo = Repo {
            page: 1000,
            is_without_tree,
            ..Repo::new(&files)
        };
        let error = Trial::new()
            .ask_changed(&repo, "hf://datasets/a/b", |_, reply| reply)
            .unwrap_err();
        assert!(error.to_string().contains("more than 3000 files"), "{error}");
    }
    let endless = |asked: &Asked, reply: Reply| {
        if asked.is_tree() {
            Reply::new(200, "[]").with("link", "</x?cursor=0>; rel=\"next\"")
        } else {
            reply
        }
    };
    let error = Trial::new()
        .ask_changed(&model(), "hf://o/n", endless)
        .unwrap_err();
    assert!(error.to_string().contains("more than 1000 pages"), "{error}");
}

#[test]
fn a_listing_with_hashes_that_are_none_is_refused() {
    let cases: [Case; 3] = [
        (
            "git hash",
            |asked, reply| change(asked, reply, "\"oid\":\"", "\"oid\":\"../"),
            "a hash that is not one",
        ),
        (
            "sizes",
            |asked, reply| change(asked, reply, "\"size\":", "\"size\":-"),
            "is not what it should be",
        ),
        (
            "twice",
            |asked, reply| change(asked, reply, "tokenizer.json", "config.json"),
            "twice",
        ),
    ];
    fn change(asked: &Asked, reply: Reply, from: &str, to: &str) -> Reply {
        if !asked.is_tree() {
            return reply;
        }
        let text = String::from_utf8(reply.body()).unwrap();
        assert!(text.contains(from));
        reply.with_body(text.replace(from, to))
    }
    check_cases(&limits(), &cases);
}

/// A server that sends these bytes to every request.
fn raw(bytes: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .count();
            let _ = stream.write_all(bytes);
        }
    });
    address
}

#[test]
fn what_is_no_answer_at_all_is_an_error_with_the_address() {
    let many = Box::leak(
        format!("HTTP/1.1 200 X\r\n{}\r\n", "a: b\r\n".repeat(100_000))
            .into_bytes()
            .into_boxed_slice(),
    );
    for bytes in [
        &b""[..],
        b"SSH-2.0-OpenSSH\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
        b"HTTP/9.9 200 X\r\n\r\n",
        b"HTTP/1.1 200 X\r\ncontent-length: 99999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 X\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 X\r\nno colon\r\n\r\n",
        many,
    ] {
        let trial = Trial::new();
        let error = trial
            .hub(&raw(bytes))
            .resolve(&crate::trial::spec("hf://o/n"))
            .unwrap_err();
        crate::trial::check_message(&error);
        let is_right = matches!(error, HubError::Malformed { .. } | HubError::Network { .. });
        assert!(
            is_right && error.to_string().contains("from http://127.0.0.1:"),
            "{error}"
        );
    }
}
