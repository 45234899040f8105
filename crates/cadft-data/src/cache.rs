//! Keeps tokenised data on disk, so that the next run with the same data, tokenizer, template and settings begins at
//! once.
//!
//! A file is named after the SHA-256 of everything its content depends on, the bytes of the data files included. It
//! is written under another name while a lock is held and renamed when complete: of two processes that want the same
//! file, one makes it and the other waits. A damaged file is made again.

pub(crate) mod file;
mod key;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use key::CacheKey;

use crate::error::{DataError, Problem};
use crate::row::Row;
use crate::samples::Samples;
use crate::source::{Mixing, Source, rows};
use crate::tokenize::{Example, TokenizeOptions, tokenize, tokenize_stream};
use crate::tokenizer::Tokenizer;
use file::Writer;

/// Whether tokenised data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// It is held in memory only.
    Off,
    /// It is kept in, and read from, this directory.
    Directory(PathBuf),
}

/// The tokenised samples of sources, from the cache where they are in it.
///
/// Rows are read, tokenised in parallel and written as a stream: how much memory that takes does not depend on how
/// many rows there are.
///
/// # Errors
/// Whatever is wrong with the sources or with their rows, as [`rows`] and [`tokenize`]; [`DataError::Io`].
pub fn load_samples(
    sources: &[Source],
    mixing: &Mixing,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
    cache: &Cache,
) -> Result<Samples, DataError> {
    let Cache::Directory(directory) = cache else {
        let rows = crate::source::read_rows(sources, mixing)?;
        return Ok(tokenize(&rows, tokenizer, options)?.into());
    };
    let key = CacheKey::new(sources, mixing, tokenizer, options)?;
    cached(directory, &key, || rows(sources, mixing), tokenizer, options)
}

fn cached<R: Iterator<Item = Result<Row, Problem>>>(
    directory: &Path,
    key: &CacheKey,
    rows: impl FnOnce() -> Result<R, DataError>,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Samples, DataError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| DataError::Io { path, source }
    };
    fs::create_dir_all(directory).map_err(at(directory))?;
    let path = directory.join(format!("{key}.tokens"));
    if let Some(samples) = existing(&path)? {
        return Ok(samples);
    }
    let lock_path = directory.join(format!("{key}.lock"));
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;
    // Another process may have made it while this one waited.
    if let Some(samples) = existing(&path)? {
        return Ok(samples);
    }
    remove_unfinished(directory, key).map_err(at(directory))?;
    let unfinished = tempfile::Builder::new()
        .prefix(&format!("{key}-"))
        .suffix(UNFINISHED)
        .tempfile_in(directory)
        .map_err(at(directory))?;
    let mut writer = Writer::new(unfinished.as_file()).map_err(at(unfinished.path()))?;
    let report = tokenize_stream(rows()?, tokenizer, options, &mut |example: Example| {
        writer.push(&example).map_err(at(unfinished.path()))
    })?;
    writer.finish(report).map_err(at(unfinished.path()))?;
    unfinished
        .persist(&path)
        .map_err(|error| at(&path)(error.error))?;
    existing(&path)?.ok_or_else(|| {
        at(&path)(io::Error::other(
            "the file that was just written does not read back",
        ))
    })
}

const UNFINISHED: &str = ".unfinished";

/// The samples of a file of the cache, if it is there and whole.
fn existing(path: &Path) -> Result<Option<Samples>, DataError> {
    match File::open(path) {
        Ok(file) => Samples::from_file(path, &file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Removes what processes left that were killed while they wrote; nobody writes while the lock is held.
fn remove_unfinished(directory: &Path, key: &CacheKey) -> io::Result<()> {
    let prefix = format!("{key}-");
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(UNFINISHED) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
