//! The embedded quickstart: files under `embedded:` paths are written to the user's cache, and the paths are replaced.

use crate::hint::UsageError;
use anyhow::{Context, Result};
use cadft_files::{NewDirectory, shown};
use cadft_train::Recipe;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::{env, fs};

static ASSETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets");

const PREFIX: &str = "embedded:";

/// Writes the files of a recipe's embedded paths to the cache, and replaces the paths by those on disk.
pub(crate) fn materialise(recipe: &mut Recipe) -> Result<()> {
    recipe.model.path = resolve(&recipe.model.path)?;
    let adapter = recipe.adapter.as_mut().and_then(|adapter| adapter.path.as_mut());
    for path in adapter.into_iter().chain(&mut recipe.run.out) {
        *path = at_home(path, home().as_deref());
    }
    for source in recipe.data.train.iter_mut().chain(&mut recipe.data.eval) {
        source.path = resolve(&source.path)?;
    }
    Ok(())
}

/// The user's directory.
fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute())
}

/// A path whose first part is `~`, from the user's directory on: shells leave it as it is after `KEY=`, and recipes see none.
fn at_home(path: &str, home: Option<&Path>) -> String {
    let rest = path.strip_prefix("~/").filter(|_| !Path::new(path).exists());
    match rest.zip(home) {
        Some((rest, home)) => home.join(rest).to_string_lossy().into_owned(),
        None => path.to_owned(),
    }
}

/// The path on disk of a path that may be embedded, or begin with `~/`.
pub(crate) fn resolve(path: &str) -> Result<String> {
    let Some(embedded) = path.strip_prefix(PREFIX) else {
        return Ok(at_home(path, home().as_deref()));
    };
    let (name, file) = embedded.split_once('/').unwrap_or((embedded, ""));
    let unknown = || {
        let known: Vec<_> = ASSETS
            .dirs()
            .map(|dir| format!("`{PREFIX}{}`", cadft_files::shown(&dir.path())))
            .collect();
        UsageError::new(
            format!("`{path}`: there is no such embedded file"),
            format!("embedded are {}", known.join(", ")),
        )
    };
    let directory = ASSETS.get_dir(name).ok_or_else(unknown)?;
    if !file.is_empty() && directory.get_file(Path::new(name).join(file)).is_none() {
        return Err(unknown().into());
    }
    let written = write(name, directory, &cadft_train::cache_directory())
        .with_context(|| format!("cannot write the embedded `{name}` to the cache"))?;
    let path = if file.is_empty() {
        written
    } else {
        written.join(file)
    };
    Ok(path.to_string_lossy().into_owned())
}

/// Writes an embedded directory to `CACHE/NAME-HASH`, unless it exists.
fn write(name: &str, directory: &Dir<'_>, cache: &Path) -> Result<PathBuf> {
    let target = cache.join(format!("{name}-{}", fingerprint(directory)));
    if is_complete(directory, &target) {
        return Ok(target);
    }
    let context = || shown(&target).to_string();
    let new = NewDirectory::begin(&target).with_context(context)?;
    for file in directory.files() {
        cadft_files::write_new(&new.path().join(file_name(file)), file.contents()).with_context(context)?;
    }
    match new.finish() {
        // Another process has written it in the meantime.
        Err(_) if is_complete(directory, &target) => Ok(target),
        finished => finished.with_context(context).map(|()| target),
    }
}

fn is_complete(directory: &Dir<'_>, target: &Path) -> bool {
    directory.files().all(|file| {
        let length = fs::metadata(target.join(file_name(file))).map(|metadata| metadata.len());
        length.is_ok_and(|length| length == file.contents().len() as u64)
    })
}

fn file_name<'a>(file: &'a include_dir::File<'_>) -> &'a Path {
    file.path().file_name().map_or(file.path(), Path::new)
}

/// The first 12 hexadecimal digits of the SHA-256 of all names and contents.
fn fingerprint(directory: &Dir<'_>) -> String {
    let mut files: Vec<_> = directory.files().collect();
    files.sort_by_key(|file| file.path());
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.path().to_string_lossy().as_bytes());
        hash.update((file.contents().len() as u64).to_le_bytes());
        hash.update(file.contents());
    }
    hex(&hash.finalize()[..6])
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedded_directory_is_written_once_and_repaired() {
        let cache = tempfile::tempdir().unwrap();
        let written = write("assets", &ASSETS, cache.path()).unwrap();
        assert!(is_complete(&ASSETS, &written));
        assert_eq!(write("assets", &ASSETS, cache.path()).unwrap(), written);
        fs::write(written.join("README.md"), "cut").unwrap();
        assert!(!is_complete(&ASSETS, &written));
        assert_eq!(write("assets", &ASSETS, cache.path()).unwrap(), written);
        assert!(is_complete(&ASSETS, &written));
        assert_eq!(
            fs::read_dir(cache.path()).unwrap().count(),
            1,
            "temporary files are left"
        );
    }

    #[test]
    fn a_path_may_begin_in_the_users_directory() {
        let home = Path::new("/here/me");
        assert_eq!(at_home("~/data/x.jsonl", Some(home)), "/here/me/data/x.jsonl");
        for other in ["~", "~you/x", "a/~/x", "x"] {
            assert_eq!(at_home(other, Some(home)), other);
        }
        assert_eq!(at_home("~/x", None), "~/x");
    }

    #[test]
    fn other_paths_are_left_alone_and_unknown_names_are_refused() {
        assert_eq!(resolve("models/x").unwrap(), "models/x");
        let message = resolve("embedded:nothing/x.jsonl").unwrap_err().to_string();
        assert!(message.contains("embedded:nothing/x.jsonl"), "{message}");
    }
}
