//! Any bytes as the answers of a Hub: names and hashes that are fit for paths, or an error, never a panic.

#![no_main]

use cadft_hub::listing::{Info, Listed, from_cache, parse_page, shards_of};
use cadft_hub::name::{etag, is_commit, problem};
use libfuzzer_sys::fuzz_target;
use std::path::{Component, Path};

fuzz_target!(|bytes: &[u8]| {
    let mut names = Vec::new();
    if let Ok(info) = Info::parse(bytes) {
        assert!(is_commit(&info.commit));
        names.extend(info.files);
    }
    for files in [parse_page(bytes).ok(), from_cache(bytes)].into_iter().flatten() {
        for (name, listed) in files {
            check_hashes(&listed);
            names.push(name);
        }
    }
    names.extend(shards_of(bytes).unwrap_or_default());
    names.extend(std::str::from_utf8(bytes).ok().map(str::to_owned));
    for name in names {
        let is_normal = |part| matches!(part, Component::Normal(_));
        assert!(problem(&name).is_some() || Path::new(&name).components().all(is_normal));
        let tag = etag(&name);
        assert!(tag.is_none_or(|tag| !tag.contains(['/', '\\']) && !tag.starts_with('.')));
    }
});

fn check_hashes(listed: &Listed) {
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    assert!(matches!(listed.etag().len(), 40 | 64) && listed.etag().chars().all(is_hex));
}
