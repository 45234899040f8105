//! Keeps tokenised data on disk, so that the next run with the same data, tokenizer, template and settings begins at
//! once.
//!
//! A file is named after the SHA-256 of everything its content depends on, the bytes of the data files included. It
//! is written under another name while a lock is held and renamed when complete: of two processes that want the same
//! file, one makes it and the other waits. A damaged file is made again.

pub(crate) mod file;
mod key;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use key::CacheKey;

use crate::error::{DataError, Problem};
use crate::row::Row;
use crate::samples::Samples;
use crate::source::{Mixing, Source, rows};
use crate::tokenize::{Example, TokenizeOptions, tokenize, tokenize_stream};
use crate::tokenizer::Tokenizer;
use cadft_files::NewFile;
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
    let directory = match cache {
        // The name of a file in the cache is a digest of the data, and a pipe can be read only once.
        Cache::Directory(directory) if !sources.iter().any(Source::is_pipe) => directory,
        _ => {
            let rows = crate::source::read_rows(sources, mixing)?;
            return Ok(tokenize(&rows, tokenizer, options)?.into());
        }
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
        move |source: io::Error| DataError::Write {
            path,
            source: source.into(),
        }
    };
    fs::create_dir_all(directory).map_err(at(directory))?;
    let path = directory.join(format!("{key}.tokens"));
    if let Some(samples) = existing(&path)? {
        return Ok(samples);
    }
    let lock_path = directory.join(format!("{key}.lock"));
    let lock = cadft_files::append(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;
    // Another process may have made it while this one waited.
    if let Some(samples) = existing(&path)? {
        return Ok(samples);
    }
    // Left by processes that were killed while they wrote; no process writes while the lock is held.
    cadft_files::clean_beside(&path).map_err(at(directory))?;
    let new = NewFile::create(&path).map_err(at(directory))?;
    let file = new.handle().map_err(at(&path))?;
    let mut writer = Writer::new(&file).map_err(at(&path))?;
    let report = tokenize_stream(rows()?, tokenizer, options, &mut |example: Example| {
        writer.push(&example).map_err(at(&path))
    })?;
    writer.finish(report).map_err(at(&path))?;
    new.finish().map_err(at(&path))?;
    existing(&path)?.ok_or_else(|| {
        at(&path)(io::Error::other(
            "the file that was just written does not read back",
        ))
    })
}

/// The samples of a file of the cache, if it is there and whole.
fn existing(path: &Path) -> Result<Option<Samples>, DataError> {
    match cadft_files::open(path) {
        Ok(file) => Samples::from_file(path, &file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}
