//! Broken connections, partial files left behind, and several processes at once.

use crate::server::{Asked, Reply, Repo, Server, Step};
use crate::trial::{Trial, check_model, model, spec, weights};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Whether the request is for the bytes of the weights.
fn is_weights(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path.contains("/storage/")
}

fn blob(trial: &Trial) -> PathBuf {
    let etag = model().entries.iter().find(|entry| entry.is_lfs).unwrap().etag();
    trial.cache().join("models--o--n/blobs").join(etag)
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let trial = Trial::new();
    let repo = model();
    let server = Server::start(move |asked| {
        let reply = repo.reply(asked);
        if !is_weights(asked) {
            return reply;
        }
        let mut body = reply.body();
        body.truncate(15_000);
        reply.with_steps(vec![Step::Send(body)])
    });
    check_model(&trial.ask(&server, "hf://o/n").unwrap());
    let asked: Vec<_> = server.asked().into_iter().filter(is_weights).collect();
    let ranges: Vec<_> = asked.iter().map(|asked| asked.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=15000-"), Some("bytes=30000-")]);
    assert!(trial.parts().is_empty());
}

#[test]
fn a_server_that_ignores_ranges_sends_all_again() {
    let trial = Trial::new();
    let count = AtomicUsize::new(0);
    let whole = weights(40_000);
    let outcome = trial.ask_changed(&model(), "hf://o/n", move |asked, reply| {
        if !is_weights(asked) {
            return reply;
        }
        let all = Reply::new(200, whole.clone());
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => all.with_steps(vec![Step::Send(whole[..20_000].to_vec())]),
            _ => all,
        }
    });
    check_model(&outcome.unwrap());
}

#[test]
fn the_rest_that_was_asked_for_must_be_the_rest() {
    for range in [
        "bytes 0-40075/40076",
        "bytes 20000-40075/50000",
        "bytes 20001-40075/40076",
        "bytes x",
        "",
        "bytes 20000-40075",
    ] {
        let trial = Trial::new();
        let outcome = trial.ask_changed(&model(), "hf://o/n", move |asked, reply| {
            if !is_weights(asked) {
                return reply;
            }
            match asked.header("range") {
                None => {
                    let bytes = reply.body()[..20_000].to_vec();
                    reply.with_steps(vec![Step::Send(bytes)])
                }
                Some(_) => reply.with("content-range", range),
            }
        });
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("the rest from byte 20000"), "{range}: {error}");
        check_model(&trial.ask_changed(&model(), "hf://o/n", |_, reply| reply).unwrap());
    }
}

#[test]
fn what_a_killed_process_left_is_used_when_it_is_right_and_dropped_when_it_is_not() {
    let whole = weights(40_000);
    let (mut wrong, mut long) = (whole[..10_000].to_vec(), whole.clone());
    wrong[5] ^= 1;
    long.extend_from_slice(&whole);
    // The names that different versions of Python's package give.
    let leftovers = [
        ("", whole[..30_000].to_vec(), Some("bytes=30000-")),
        (".0a1b2c3d", wrong, Some("bytes=10000-")),
        (".x", long, None),
        (".y", whole.clone(), Some("nothing")),
        (".z", vec![], None),
    ];
    for (middle, bytes, range) in leftovers {
        let trial = Trial::new();
        let blob = blob(&trial);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        let part = PathBuf::from(format!("{}{middle}.incomplete", blob.display()));
        fs::write(&part, bytes).unwrap();
        let repo = model();
        let server = Server::start(move |asked| repo.reply(asked));
        check_model(&trial.ask(&server, "hf://o/n").unwrap());
        let first = server.asked().into_iter().find(is_weights);
        match range {
            Some("nothing") => assert!(first.is_none(), "{middle}"),
            range => assert_eq!(first.unwrap().header("range"), range, "{middle}"),
        }
        assert!(trial.parts().is_empty(), "{middle}: {:?}", trial.parts());
    }
}

#[test]
fn a_connection_that_is_lost_for_good_leaves_a_part_that_the_next_try_goes_on_with() {
    let trial = Trial::new();
    let outcome = trial.ask_changed(&model(), "hf://o/n", |asked, reply| {
        if !is_weights(asked) {
            return reply;
        }
        match asked.header("range") {
            None => {
                let bytes = reply.body()[..20_000].to_vec();
                reply.with_steps(vec![Step::Send(bytes)])
            }
            Some(_) => reply.with_steps(vec![]),
        }
    });
    assert!(outcome.unwrap_err().to_string().contains("after 20000 bytes"));
    assert_eq!(trial.parts().len(), 1);
    let repo = model();
    let server = Server::start(move |asked| repo.reply(asked));
    check_model(&trial.ask(&server, "hf://o/n").unwrap());
    let asked = server.asked().into_iter().find(is_weights).unwrap();
    assert_eq!(asked.header("range"), Some("bytes=20000-"));
}

#[cfg(unix)]
#[test]
fn a_part_that_is_a_link_is_not_written_through() {
    let trial = Trial::new();
    let blob = blob(&trial);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    let victim = tempfile::NamedTempFile::new().unwrap();
    fs::write(victim.path(), "mine").unwrap();
    std::os::unix::fs::symlink(victim.path(), blob.with_extension("incomplete")).unwrap();
    check_model(&trial.ask_changed(&model(), "hf://o/n", |_, reply| reply).unwrap());
    assert_eq!(fs::read(victim.path()).unwrap(), b"mine");
}

#[test]
fn several_downloads_at_once_fetch_each_file_once() {
    let trial = Arc::new(Trial::new());
    let repo = model();
    let server = Arc::new(Server::start(move |asked| {
        let reply = repo.reply(asked);
        if !is_weights(asked) {
            return reply;
        }
        let body = reply.body();
        let (first, second) = body.split_at(20_000);
        reply.with_steps(vec![
            Step::Send(first.to_vec()),
            Step::Pause(Duration::from_millis(50)),
            Step::Send(second.to_vec()),
        ])
    }));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let hub = trial.hub(&server.address);
            scope.spawn(move || check_model(&hub.resolve(&spec("hf://o/n")).unwrap()));
        }
    });
    assert_eq!(server.asked().iter().filter(|asked| is_weights(asked)).count(), 1);
    assert!(trial.parts().is_empty());
}

#[test]
fn a_process_that_holds_a_file_for_ever_is_named() {
    let mut trial = Trial::new();
    trial.limits.lock = Duration::from_millis(100);
    let locks = trial.cache().join(".locks/models--o--n");
    fs::create_dir_all(&locks).unwrap();
    let path = locks.join(format!("{}.lock", model().entries[1].etag()));
    let file = fs::File::create(&path).unwrap();
    file.lock().unwrap();
    let error = trial
        .ask_changed(&model(), "hf://o/n", |_, reply| reply)
        .unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    drop(file);
    check_model(&trial.ask_changed(&model(), "hf://o/n", |_, reply| reply).unwrap());
}

#[test]
fn a_part_of_a_content_without_a_hash_is_not_used() {
    let trial = Trial::new();
    let blobs = trial.cache().join("models--o--n/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join("v1.incomplete"), "{").unwrap();
    let repo = Repo {
        is_without_tree: true,
        ..model()
    };
    let outcome = trial.ask_changed(&repo, "hf://o/n", |asked, reply| {
        assert_eq!(asked.header("range"), None);
        if asked.path.ends_with("config.json") {
            reply.with("etag", "\"v1\"")
        } else {
            reply
        }
    });
    check_model(&outcome.unwrap());
    assert!(trial.parts().is_empty());
}
