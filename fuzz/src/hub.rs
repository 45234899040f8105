//! The answers of a Hub, and names that users type.

use cadft_train::hub::Spec;
use cadft_train::hub::listing::{Info, Listed, from_cache, parse_page, shards_of};
use cadft_train::hub::name::{etag, is_commit, problem};
use std::path::{Component, Path};

/// Any bytes as the answers of a Hub: the names and hashes are safe in paths, or there is an error.
pub(super) fn answers(bytes: &[u8]) {
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
    if let Ok(text) = std::str::from_utf8(bytes) {
        names.push(text.to_owned());
        if let Ok(Some(spec)) = Spec::parse(text).or_else(|_| Spec::parse(&format!("hf://{text}"))) {
            assert!(is_inside(&spec.id), "{:?}", spec.id);
            assert!(spec.file.is_none_or(|file| is_inside(&file)));
        }
    }
    for name in names {
        assert!(problem(&name).is_some() || is_inside(&name), "{name:?}");
        let tag = etag(&name);
        assert!(tag.is_none_or(|tag| !tag.contains(['/', '\\']) && !tag.starts_with('.')));
    }
}

fn is_inside(name: &str) -> bool {
    let is_normal = |part| matches!(part, Component::Normal(_));
    Path::new(name).components().all(is_normal)
}

fn check_hashes(listed: &Listed) {
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    assert!(matches!(listed.etag().len(), 40 | 64) && listed.etag().chars().all(is_hex));
}
