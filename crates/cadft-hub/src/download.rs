//! One file from the Hub into the cache: resumed, limited, verified, renamed.

use crate::address::Address;
use crate::cache::{Repository, temporary};
use crate::client::{Answer, Client, Subject, describe, refused, text};
use crate::content::{is_content, is_hash};
use crate::error::HubError;
use crate::text::Visible;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::{NamedTempFile, TempPath};
use ureq::http::Method;

/// The required properties of a file.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The `ETag`, which names the content.
    pub(crate) etag: String,
    /// Size in bytes; `None` if the Hub does not report it.
    pub(crate) size: Option<u64>,
}

/// A download of one file.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client<'a>,
    pub(crate) repository: &'a Repository,
    pub(crate) subject: Subject<'a>,
    pub(crate) address: Address,
    pub(crate) wanted: Wanted,
}

/// Received bytes, in a file that is removed unless it is renamed.
struct Part {
    file: NamedTempFile,
    len: u64,
    /// Whether an earlier download began it.
    is_adopted: bool,
}

impl Download<'_> {
    /// Downloads the content unless the cache has it, while holding the lock of the content.
    pub(crate) fn run(&self) -> Result<(), HubError> {
        let limits = &self.client.hub.limits;
        let _lock = self.repository.lock(&self.wanted.etag, limits.lock)?;
        let blob = self.repository.blobs().join(&self.wanted.etag);
        if blob.exists() {
            return check_cached(&blob, &self.wanted.etag, self.wanted.size);
        }
        tracing::info!(file = self.subject.file, size = self.wanted.size, "downloading");
        let mut part = self.part()?;
        self.fill(&mut part)?;
        if !self.is_right(&part)? && part.is_adopted {
            part = self.new_part()?;
            self.fill(&mut part)?;
        }
        if !self.is_right(&part)? {
            let message = format!(
                "the content has not the hash `{}` that the Hub says",
                self.wanted.etag
            );
            return Err(self.malformed(message));
        }
        let fail = |source| HubError::io("write", &blob)(source);
        part.file.as_file().sync_all().map_err(fail)?;
        part.file
            .persist(&blob)
            .map(|_| ())
            .map_err(|error| fail(error.error))
    }

    fn malformed(&self, message: impl Into<String>) -> HubError {
        self.subject.malformed(&self.address, message)
    }

    fn is_right(&self, part: &Part) -> Result<bool, HubError> {
        let path = part.file.path();
        is_content(path, &self.wanted.etag).map_err(HubError::io("read", path))
    }

    /// Receives until the part is complete. Bytes from a broken connection are kept for the next attempt.
    fn fill(&self, part: &mut Part) -> Result<(), HubError> {
        let limits = &self.client.hub.limits;
        let mut futile = 0;
        loop {
            let before = part.len;
            match self.receive(part) {
                Err(HubError::Network { .. }) if futile < limits.retries => {
                    let is_progress = part.len >= before.saturating_add(limits.progress_bytes);
                    futile = if is_progress { 0 } else { futile + 1 };
                    std::thread::sleep(limits.wait.min(limits.longest_wait));
                }
                Err(error @ HubError::Network { .. }) if part.len > 0 && is_hash(&self.wanted.etag) => {
                    part.file.disable_cleanup(true);
                    return Err(error);
                }
                other => return other,
            }
        }
    }

    /// Receives the remaining bytes over one connection.
    fn receive(&self, part: &mut Part) -> Result<(), HubError> {
        if part.len > 0 && Some(part.len) == self.wanted.size {
            return Ok(());
        }
        let answer = self
            .client
            .ask(self.subject, &Method::GET, &self.address, part.len)?;
        self.check_facts(&answer)?;
        match answer.status {
            200 => part.clear().map_err(HubError::io("write", part.file.path()))?,
            206 if part.len > 0 => self.check_range(&answer, part.len)?,
            // According to the server, the part is as long as the file, or longer.
            416 if part.len > 0 => {
                part.clear().map_err(HubError::io("write", part.file.path()))?;
                return Err(self
                    .subject
                    .network(&answer.address, "the rest of the file is refused"));
            }
            206 => return Err(self.malformed("a part of the file is sent, where all of it was asked for")),
            _ => return Err(refused(self.subject, &answer)),
        }
        let size = self.size(&answer, part.len)?;
        self.check_space(size, part)?;
        self.copy(answer, part, size)
    }

    /// The size of the whole file. The known size and that of the answer must agree.
    fn size(&self, answer: &Answer, received: u64) -> Result<Option<u64>, HubError> {
        let Some(length) = text(&answer.headers, "content-length") else {
            return Ok(self.wanted.size);
        };
        let length: Option<u64> = length.trim().parse().ok();
        let Some(size) = length.and_then(|length| length.checked_add(received)) else {
            return Err(self.malformed("the length of the answer is not a number"));
        };
        match self.wanted.size {
            Some(wanted) if wanted != size => {
                Err(self.malformed(format!("{size} bytes are sent, where the Hub lists {wanted}")))
            }
            _ => Ok(Some(size)),
        }
    }

    /// Checks that the Hub still reports the same facts about the file as before the download.
    fn check_facts(&self, answer: &Answer) -> Result<(), HubError> {
        let facts = &answer.facts;
        if let Some(etag) = facts.etag.as_ref().filter(|etag| **etag != self.wanted.etag) {
            let message = format!(
                "the content `{etag}` is sent, where the Hub lists `{}`",
                self.wanted.etag
            );
            return Err(self.malformed(message));
        }
        match (facts.size, self.wanted.size) {
            (Some(size), Some(wanted)) if size != wanted => Err(self.malformed(format!(
                "{size} bytes are announced, where the Hub lists {wanted}"
            ))),
            _ => Ok(()),
        }
    }

    fn check_range(&self, answer: &Answer, from: u64) -> Result<(), HubError> {
        let range = text(&answer.headers, "content-range").unwrap_or_default();
        let found: Option<(u64, Option<u64>)> = range.strip_prefix("bytes ").and_then(|range| {
            let (start, rest) = range.split_once('-')?;
            let (_, total) = rest.split_once('/')?;
            let total = if total == "*" {
                self.wanted.size
            } else {
                Some(total.parse().ok()?)
            };
            Some((start.parse().ok()?, total))
        });
        match found {
            Some((start, total))
                if start == from && (self.wanted.size.is_none() || total == self.wanted.size) =>
            {
                Ok(())
            }
            _ => Err(self.malformed(format!(
                "the rest from byte {from} was asked for, and `{}` is sent",
                Visible(range)
            ))),
        }
    }

    fn check_space(&self, size: Option<u64>, part: &Part) -> Result<(), HubError> {
        let directory = self.repository.blobs();
        let needed = size.unwrap_or(0).saturating_sub(part.len);
        // If the file system does not report free space, the download is tried.
        let available = fs4::available_space(&directory).unwrap_or(u64::MAX);
        if needed <= available {
            return Ok(());
        }
        let message = format!(
            "{} MiB are needed, {} MiB are free",
            needed >> 20,
            available >> 20
        );
        Err(HubError::io("write", &directory)(std::io::Error::new(
            ErrorKind::StorageFull,
            message,
        )))
    }

    /// Copies the body into the part; enforces the size and the minimum speed.
    fn copy(&self, mut answer: Answer, part: &mut Part, size: Option<u64>) -> Result<(), HubError> {
        let limits = &self.client.hub.limits;
        let most = size.unwrap_or(limits.small_bytes);
        let address = answer.address.clone();
        let mut piece = vec![0; 128 << 10];
        let (mut since, mut len_then) = (Instant::now(), part.len);
        loop {
            let count = match answer.body.read(&mut piece) {
                Ok(count) => count,
                Err(error) => {
                    return Err(self
                        .subject
                        .network(&address, self.broken(part, &describe(&error))));
                }
            };
            if count == 0 {
                break;
            }
            if part.len + count as u64 > most {
                let said = if size.is_some() {
                    "than it has"
                } else {
                    "without a size"
                };
                return Err(self.malformed(format!("more bytes are sent {said}: more than {most}")));
            }
            let path = part.file.path().to_owned();
            part.file
                .write_all(&piece[..count])
                .map_err(HubError::io("write", &path))?;
            part.len += count as u64;
            if since.elapsed() >= limits.progress {
                if part.len - len_then < limits.progress_bytes {
                    let message = self.broken(part, "the connection is too slow");
                    return Err(self.subject.network(&address, message));
                }
                (since, len_then) = (Instant::now(), part.len);
            }
        }
        match size {
            Some(size) if part.len < size => {
                let message = self.broken(part, &format!("the connection ended before byte {size}"));
                Err(self.subject.network(&address, message))
            }
            _ => Ok(()),
        }
    }

    fn broken(&self, part: &Part, problem: &str) -> String {
        format!("{problem}, after {} bytes", part.len)
    }

    /// The longest usable part of an earlier download, or a new part. The lock prevents other downloads from using it.
    /// A process without locks may still change it; the final hash check detects this.
    fn part(&self) -> Result<Part, HubError> {
        let mut best: Option<(u64, PathBuf)> = None;
        for path in self.leftovers() {
            let len = path
                .symlink_metadata()
                .ok()
                .filter(fs::Metadata::is_file)
                .map_or(0, |data| data.len());
            let is_of_use =
                len > 0 && is_hash(&self.wanted.etag) && self.wanted.size.is_some_and(|size| len <= size);
            let is_better = best.as_ref().is_none_or(|(longest, _)| len > *longest);
            let worse = if is_of_use && is_better {
                best.replace((len, path)).map(|(_, path)| path)
            } else {
                Some(path)
            };
            if let Some(worse) = worse {
                fs::remove_file(&worse).map_err(HubError::io("remove", &worse))?;
            }
        }
        match best {
            Some((len, path)) => adopt(path.clone(), len).map_err(HubError::io("open", &path)),
            None => self.new_part(),
        }
    }

    fn new_part(&self) -> Result<Part, HubError> {
        let blobs = self.repository.blobs();
        let file = temporary(&blobs, &format!("{}.", self.wanted.etag), ".incomplete");
        Ok(Part {
            file: file.map_err(HubError::io("write", &blobs))?,
            len: 0,
            is_adopted: false,
        })
    }

    /// Parts of this content, by the names that this crate and versions of Python's `huggingface_hub` use.
    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.repository.blobs())
            .into_iter()
            .flatten()
            .flatten();
        let is_part = |name: &str| {
            name.strip_prefix(&self.wanted.etag)
                .and_then(|rest| rest.strip_suffix(".incomplete"))
                .is_some_and(|middle| middle.is_empty() || middle.starts_with('.'))
        };
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_part))
            .map(|entry| entry.path())
            .collect()
    }
}

fn adopt(path: PathBuf, len: u64) -> std::io::Result<Part> {
    let mut file = File::options().read(true).write(true).open(&path)?;
    file.seek(SeekFrom::Start(len))?;
    Ok(Part {
        file: NamedTempFile::from_parts(file, TempPath::try_from_path(path)?),
        len,
        is_adopted: true,
    })
}

impl Part {
    fn clear(&mut self) -> std::io::Result<()> {
        self.len = 0;
        self.is_adopted = false;
        self.file.as_file().set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(|_| ())
    }
}

/// Checks that a cached file still matches its name, as far as possible without reading a large file.
///
/// # Errors
/// If the file is damaged.
pub(crate) fn check_cached(path: &Path, etag: &str, size: Option<u64>) -> Result<(), HubError> {
    /// Files up to this size are read again at every use.
    const SMALL: u64 = 4 << 20;
    let damaged = |message: String| {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Err(HubError::Damaged { path, message })
    };
    let found = fs::metadata(path).map_err(HubError::io("read", path))?.len();
    let by_header = || crate::content::length_of_safetensors(path);
    match size {
        Some(size) if size != found => {
            return damaged(format!("has {found} bytes, where the Hub lists {size}"));
        }
        None if path.extension().is_some_and(|end| end == "safetensors") => {
            if let Some(size) = by_header().filter(|size| *size != found) {
                return damaged(format!("has {found} bytes, where its header says {size}"));
            }
        }
        _ => {}
    }
    if found <= SMALL && !is_content(path, etag).map_err(HubError::io("read", path))? {
        return damaged(format!("has not the hash `{etag}`"));
    }
    Ok(())
}
