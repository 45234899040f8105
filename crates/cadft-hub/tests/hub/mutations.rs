//! Damaged answers cause errors, or change nothing. The tests run the fuzz target `hub`, and whole downloads and pushes
//! from and to a Hub whose answers are damaged in transit.

use crate::pushing::Sent;
use crate::server::{COMMIT, Reply, Repo, Server};
use crate::store::Store;
use crate::trial::{TOKEN, Trial, model};
use cadft_hub::listing::{Info, from_cache, parse_page, shards_of};
use cadft_hub::name;
use proptest::prelude::*;
use std::fs;
use std::path::{Component, Path};

/// A damage: its position, the number of bytes removed, and the bytes inserted.
type Damage = (prop::sample::Index, usize, Vec<u8>);

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let tokens: [&[u8]; 14] = [
        b"\"", b"{", b"}", b"[", b"]", b",", b"..", b"/", b"\\u001b", b"\xFF", b"null", b"-1", b"\\\\", b"\0",
    ];
    let inserted = prop_oneof![
        prop::sample::select(tokens.to_vec()).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8, inserted), 1..4)
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for (at, count, new) in damages {
        let at = at.index(bytes.len() + 1);
        let end = (at + count).min(bytes.len());
        bytes.splice(at..end, new.iter().copied());
    }
    bytes
}

/// Every parsed name may become a path only if it is safe as one.
fn check(bytes: &[u8]) {
    let mut names = shards_of(bytes).unwrap_or_default();
    if let Ok(info) = Info::parse(bytes) {
        assert!(name::is_commit(&info.commit));
        names.extend(info.files);
    }
    for files in [parse_page(bytes).ok(), from_cache(bytes)].into_iter().flatten() {
        assert!(
            files
                .values()
                .all(|listed| name::etag(listed.etag()) == Some(listed.etag()))
        );
        names.extend(files.into_keys());
    }
    for name in names {
        let is_normal = Path::new(&name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        assert!(is_normal || name::problem(&name).is_some(), "{name:?}");
    }
}

fn answers() -> [Vec<u8>; 4] {
    let hash = "ab".repeat(32);
    [
        format!(r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "a/b.json"}}, {{"rfilename": "c"}}]}}"#),
        format!(r#"[{{"type": "file", "oid": "{COMMIT}", "size": 7, "path": "a/b.json", "lfs": {{"oid": "{hash}", "size": 7}}}}]"#),
        format!(r#"{{"format_version": 1, "files": {{"a/b.json": {{"size": 7, "blob_id": "{COMMIT}"}}}}}}"#),
        r#"{"weight_map": {"a": "b/c.safetensors"}}"#.to_owned(),
    ]
    .map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_answer_names_nothing_that_is_not_fit(index in 0_usize..4, damages in damages()) {
        check(&damaged(answers()[index].clone(), &damages));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damages the bodies or the header values of all answers of one kind.
    #[test]
    fn a_download_from_a_damaged_hub_is_right_or_an_error(
        kind in 0_usize..4,
        is_header in any::<bool>(),
        is_without_tree in any::<bool>(),
        damages in damages(),
    ) {
        let trial = Trial::new();
        let repo = Repo { is_without_tree, ..model() };
        let server = Server::start(move |asked| {
            let reply = repo.reply(asked);
            let is_meant = match kind {
                0 => asked.is_info(),
                1 => asked.is_tree(),
                2 => asked.path.ends_with("config.json"),
                _ => asked.path.contains("safetensors") || asked.path.contains("/storage/"),
            };
            match (is_meant, is_header) {
                (false, _) => reply,
                (true, true) => with_headers(reply, &damages),
                (true, false) => { let body = damaged(reply.body(), &damages); reply.with_body(body) }
            }
        });
        if let Ok(directory) = trial.ask(&server, "hf://o/n") {
            for entry in model().entries.iter().filter(|entry| ["config.json", "model.safetensors"].contains(&entry.name.as_str())) {
                prop_assert_eq!(&fs::read(directory.join(&entry.name)).unwrap(), &entry.bytes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damages the answers of one kind, except those with addresses: they would lead to machines that are not ours.
    #[test]
    fn a_push_to_a_damaged_hub_is_right_or_an_error(kind in 0_usize..5, damages in damages()) {
        let (sent, store) = (Sent::new(), Store::new(TOKEN));
        let inner = store.clone();
        let server = Server::start(move |asked| {
            let reply = inner.reply(asked);
            let kinds = ["/create", "/revision/", "/validate-yaml", "/preupload/", "/commit/"];
            if asked.path.contains(kinds[kind]) {
                let body = damaged(reply.body(), &damages);
                return reply.with_body(body);
            }
            reply
        });
        if sent.push(&server, "hf://o/n").is_ok() {
            let there = store.files("o/n", "main");
            for (name, bytes) in sent.files() {
                prop_assert_eq!(there.get(&name), Some(&bytes), "{}", name);
            }
        }
    }
}

fn with_headers(mut reply: Reply, damages: &[Damage]) -> Reply {
    for (_, value) in &mut reply.headers {
        let bytes = damaged(value.clone().into_bytes(), damages);
        // A line end would start another header.
        *value = String::from_utf8_lossy(&bytes).replace(['\r', '\n'], " ");
    }
    reply
}
