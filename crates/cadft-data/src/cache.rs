//! Caches tokenised data on disk, so that the next run with the same data, tokenizer, template and settings starts at
//! once.
//!
//! A file is named after the SHA-256 of everything its content depends on, including the bytes of the data files. It is
//! written under a temporary name while a lock is held, and renamed when it is complete. If two processes need the same
//! file, one writes it and the other waits. A damaged file is written again.

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
use crate::tokenize::{TokenizeOptions, tokenize, tokenize_stream};
use crate::tokenizer::Tokenizer;
use cadft_batch::Example;
use cadft_files::NewFile;
use file::Writer;

/// Whether tokenised data is cached on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// Samples are only in memory.
    Off,
    /// Samples are stored in this directory, and read from it.
    Directory(PathBuf),
}

/// Loads the tokenised samples of sources, from the cache if they are there.
///
/// Rows are read, tokenised in parallel and written as a stream. The memory does not depend on the number of rows.
///
/// # Errors
/// As [`rows`] and [`tokenize`]; [`DataError::Io`] if the cache cannot be read or written.
pub fn load_samples(
    sources: &[Source],
    mixing: &Mixing,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
    cache: &Cache,
) -> Result<Samples, DataError> {
    let directory = match cache {
        // The name of a cached file is a digest of the data, but a pipe can be read only once.
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
    // Another process may have written it in the meantime.
    if let Some(samples) = existing(&path)? {
        return Ok(samples);
    }
    // Partial files of killed processes; no process writes while the lock is held.
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

/// The samples of a cached file; `None` if the file is absent or damaged.
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
