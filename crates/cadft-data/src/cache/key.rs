//! The name of a cached file: a digest of everything that its content depends on.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::file::VERSION;
use crate::error::DataError;
use crate::source::{Mixing, Source};
use crate::tokenize::TokenizeOptions;
use crate::tokenizer::Tokenizer;

/// A SHA-256 over the paths and bytes of all data files, how they are read and mixed, the tokenizer's files, the chat
/// template with its variables, the options, the version of this crate, and the date if the template writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of these sources with these settings.
    ///
    /// # Errors
    /// As [`Source::files`]; [`DataError::Io`] if a file cannot be read.
    pub fn new(
        sources: &[Source],
        mixing: &Mixing,
        tokenizer: &Tokenizer,
        options: &TokenizeOptions,
    ) -> Result<Self, DataError> {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        part(env!("CARGO_PKG_VERSION").as_bytes());
        part(&VERSION.to_le_bytes());
        part(&tokenizer.fingerprint());
        part(format!("{options:?} {mixing:?}").as_bytes());
        for source in sources {
            part(format!("{source:?}").as_bytes());
            for path in source.files()? {
                // Samples store the file that they were read from.
                part(path.as_os_str().as_encoded_bytes());
                part(&content(&path).map_err(|source| DataError::Io { path, source })?);
            }
        }
        Ok(Self(digest.finalize().into()))
    }
}

impl Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The SHA-256 of a file's bytes.
fn content(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(&buffer[..read]);
    }
}
