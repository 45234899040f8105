//! What the cache holds of a name on the Hub, no matter which program downloaded it.

use crate::cache::Repository;
use crate::choice::{
    ADAPTER, ADAPTER_CONFIG, CONFIG, INDEX, SINGLE, absent_shards, is_data_file, needed_around_weights,
};
use crate::download::check_cached;
use crate::error::HubError;
use crate::listing::{self, Files};
use crate::spec::{RepoKind, Spec};
use std::fs;
use std::path::{Path, PathBuf};

/// What the cache holds of a name.
pub(crate) enum Cached {
    /// All files, at this path.
    Complete(PathBuf),
    /// Possibly all files: there is no listing to compare with.
    Unlisted(PathBuf),
    /// Some files of a commit.
    Partial { snapshot: PathBuf, missing: Vec<String> },
    /// Nothing of the revision.
    Nothing,
}

/// Looks up a name in the cache.
///
/// # Errors
/// If a cached file is damaged.
pub(crate) fn look_up(repository: &Repository, spec: &Spec) -> Result<Cached, HubError> {
    let Some(commit) = repository.commit_of(&spec.revision) else {
        return Ok(Cached::Nothing);
    };
    let snapshot = repository.snapshot(&commit);
    if !snapshot.is_dir() {
        return Ok(Cached::Nothing);
    }
    let files = repository.files(&commit);
    let needed = match (&spec.file, spec.kind) {
        (Some(file), _) => vec![file.clone()],
        (None, RepoKind::Model) => needed_of_model(&snapshot, files.as_ref()),
        (None, RepoKind::Dataset) => needed_of_data(&snapshot, files.as_ref()),
    };
    let missing: Vec<String> = needed
        .iter()
        .filter(|file| !snapshot.join(file).is_file())
        .cloned()
        .collect();
    if !missing.is_empty() || needed.is_empty() {
        return Ok(Cached::Partial { snapshot, missing });
    }
    for file in &needed {
        check(
            &snapshot.join(file),
            files.as_ref().and_then(|files| files.get(file)),
        )?;
    }
    let is_told = spec.kind == RepoKind::Model || files.is_some();
    Ok(match &spec.file {
        Some(file) => Cached::Complete(snapshot.join(file)),
        None if is_told => Cached::Complete(snapshot),
        None => Cached::Unlisted(snapshot),
    })
}

fn check(path: &Path, listed: Option<&listing::Listed>) -> Result<(), HubError> {
    if let Some(listed) = listed {
        return check_cached(path, listed.etag(), Some(listed.bytes()));
    }
    // A link of the cache points to a file whose name is the `ETag` of the content.
    let target = fs::read_link(path).ok();
    let etag = target
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    check_cached(path, etag.unwrap_or_default(), None)
}

/// The files that a model needs, by the listing, or by its configuration and index if there is none.
fn needed_of_model(snapshot: &Path, files: Option<&Files>) -> Vec<String> {
    // A broken link counts as present here; its target is then reported as absent.
    let has = |name: &str| match files {
        Some(files) => files.contains_key(name),
        None => snapshot.join(name).symlink_metadata().is_ok(),
    };
    let mut needed: Vec<String> = needed_around_weights(has).map(str::to_owned).collect();
    if has(ADAPTER_CONFIG) {
        needed.extend([ADAPTER_CONFIG, ADAPTER].map(str::to_owned));
    } else {
        needed.push(CONFIG.to_owned());
        if has(INDEX) {
            needed.push(INDEX.to_owned());
            let index = fs::read(snapshot.join(INDEX)).unwrap_or_default();
            needed.extend(listing::shards_of(&index).unwrap_or_default());
        } else {
            needed.push(SINGLE.to_owned());
        }
    }
    needed.sort();
    needed.dedup();
    needed
}

/// The files that a data set needs: by the listing, or by the files present and the shard numbers in their names.
fn needed_of_data(snapshot: &Path, files: Option<&Files>) -> Vec<String> {
    if let Some(files) = files {
        return files.keys().filter(|name| is_data_file(name)).cloned().collect();
    }
    let mut found = Vec::new();
    collect(snapshot, "", &mut found);
    found.extend(absent_shards(&found));
    found
}

/// Adds the data files below a directory, with their names in the repository.
fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{prefix}{name}");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &format!("{name}/"), found);
        } else if is_data_file(&name) && entry.path().is_file() {
            found.push(name);
        }
    }
}
