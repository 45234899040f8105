//! Compares the content of files with the hash in their names.

use crate::name::is_hex;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Whether an `ETag` is a hash of the content.
pub(crate) fn is_hash(etag: &str) -> bool {
    is_hex(etag, 40) || is_hex(etag, 64)
}

/// Whether a file has the content that `etag` names. 64 digits are a SHA-256, 40 digits a git hash. Mirrors of the Hub
/// may use the plain SHA-1 instead, which is accepted. Any other name is not checked.
pub(crate) fn is_content(path: &Path, etag: &str) -> io::Result<bool> {
    if is_hex(etag, 64) {
        let mut hash = Sha256::new();
        each_piece(path, |piece| hash.update(piece))?;
        return Ok(hex(&hash.finalize()) == etag);
    }
    if is_hex(etag, 40) {
        let size = path.metadata()?.len();
        let mut git = Sha1::new_with_prefix(format!("blob {size}\0"));
        let mut plain = Sha1::new();
        each_piece(path, |piece| {
            git.update(piece);
            plain.update(piece);
        })?;
        return Ok(hex(&git.finalize()) == etag || hex(&plain.finalize()) == etag);
    }
    Ok(true)
}

/// The total length of a safetensors file according to its header; `None` if there is no such header.
pub(crate) fn length_of_safetensors(path: &Path) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Tensor {
        data_offsets: (u64, u64),
    }
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        _metadata: Option<serde::de::IgnoredAny>,
        #[serde(flatten)]
        tensors: std::collections::HashMap<String, Tensor>,
    }
    const LONGEST: u64 = 100 << 20;
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let header: Header = serde_json::from_slice(&header).ok()?;
    let end = header
        .tensors
        .values()
        .map(|tensor| tensor.data_offsets.1)
        .max()
        .unwrap_or(0);
    end.checked_add(8 + length)
}

fn each_piece(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_content_is_known_by_its_hashes() {
        // `printf hello | sha256sum`, `| git hash-object --stdin`, `| sha1sum`.
        let hello = file(b"hello");
        for etag in [
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
            "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
        ] {
            assert!(is_hash(etag) && is_content(hello.path(), etag).unwrap(), "{etag}");
            assert!(!is_content(file(b"hellO").path(), etag).unwrap(), "{etag}");
        }
        assert!(!is_hash("abc-1") && is_content(hello.path(), "abc-1").unwrap());
    }

    #[test]
    fn safetensors_say_how_long_they_are() {
        let header = br#"{"__metadata__": {"format": "pt"}, "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        let length = bytes.len() as u64 + 3;
        assert_eq!(length_of_safetensors(file(&bytes).path()), Some(length));
        for other in [&b""[..], b"{}", &u64::MAX.to_le_bytes(), &bytes[..20]] {
            assert_eq!(length_of_safetensors(file(other).path()), None);
        }
    }
}
