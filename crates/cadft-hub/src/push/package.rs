//! The files to send: what a model or an adapter has, with sizes and hashes. Nothing else in its directory is looked at.

use crate::choice::{ADAPTER, ADAPTER_CONFIG, CARD, CONFIG, INDEX, SINGLE, around_weights};
use crate::content::{hex, length_of_safetensors};
use crate::error::HubError;
use crate::listing::shards_of;
use crate::name;
use crate::text::Visible;
use cadft_files::shown;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The directory of chat templates for special purposes, such as tools.
const OTHER_TEMPLATES: &str = "additional_chat_templates";
/// An older place of the chat template.
const OLDER_TEMPLATE: &str = "chat_template.json";
/// Bytes of a file that the Hub looks at to decide how it is sent.
const SAMPLE: usize = 512;
/// Largest index of weights that is read.
const LARGEST_INDEX: u64 = 128 << 20;

const DAMAGED: &str = "give the directory of a model or an adapter as it was saved";

/// Where the content of a file is.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Bytes(Vec<u8>),
}

/// A file to send.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its name in the repository.
    pub name: String,
    /// Its content.
    pub content: Content,
    /// Whether a text that is there under this name, and differs, stays as it is. `None` replaces it always.
    pub stays: Option<fn(&str) -> bool>,
}

/// The files of a model or an adapter in a directory that the downloader would fetch, and its card if there is one.
///
/// An adapter is sent without the model that may be beside it.
///
/// # Errors
/// [`HubError::Unsendable`] if there is no model and no adapter, if weights are missing, or if a file is a link that
/// leads out of the directory. Links within a cache of the Hub are followed.
pub fn files_of(directory: &Path) -> Result<Vec<Local>, HubError> {
    let has = |name: &str| directory.join(name).exists();
    let weights = if has(ADAPTER) && has(ADAPTER_CONFIG) {
        vec![ADAPTER.to_owned()]
    } else if has(CONFIG) && has(SINGLE) {
        // As in transformers, an index beside it is ignored.
        vec![SINGLE.to_owned()]
    } else if has(CONFIG) && has(INDEX) {
        let mut names = shards(directory)?;
        names.push(INDEX.to_owned());
        names
    } else {
        return Err(HubError::Unsendable {
            problems: vec![format!(
                "`{}` holds neither `{CONFIG}` with safetensors weights nor an adapter",
                shown(&directory)
            )],
            hint: "give the directory of a model, of a PEFT adapter, or of a run that is finished",
        });
    };
    // The rest of the other kind is not part of this one.
    let others: &[&str] = if weights == [ADAPTER] {
        &[CONFIG, ADAPTER]
    } else {
        &[ADAPTER_CONFIG, ADAPTER]
    };
    let mut names: Vec<String> = (around_weights(has).chain([OLDER_TEMPLATE, CARD]))
        .filter(|name| has(name) && !others.contains(name))
        .map(str::to_owned)
        .collect();
    names.extend(other_templates(directory));
    names.extend(weights);
    let problems: Vec<String> = (names.iter())
        .filter_map(|name| problem_with(directory, name))
        .collect();
    if !problems.is_empty() {
        let hint = DAMAGED;
        return Err(HubError::Unsendable { problems, hint });
    }
    let local = |name: String| Local {
        content: Content::File(directory.join(&name)),
        name,
        stays: None,
    };
    Ok(names.into_iter().map(local).collect())
}

fn shards(directory: &Path) -> Result<Vec<String>, HubError> {
    let path = directory.join(INDEX);
    let wrong = |what: String| HubError::Unsendable {
        problems: vec![format!("`{}` {what}", shown(&path))],
        hint: DAMAGED,
    };
    let index = cadft_files::read_up_to(&path, LARGEST_INDEX)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let names = shards_of(&index).map_err(|message| wrong(format!("is not an index: {message}")))?;
    match names.iter().find(|name| !name.ends_with(".safetensors")) {
        // An index from elsewhere could name any file of the directory.
        Some(other) => Err(wrong(format!(
            "names `{}`, which is not a safetensors file",
            Visible(other)
        ))),
        None => Ok(names),
    }
}

fn other_templates(directory: &Path) -> Vec<String> {
    let names = cadft_files::entries(&directory.join(OTHER_TEMPLATES)).unwrap_or_default();
    let is_template = |name: &String| name.ends_with(".jinja") && !name.starts_with('.');
    (names.into_iter().filter(is_template))
        .map(|name| format!("{OTHER_TEMPLATES}/{name}"))
        .collect()
}

/// Why a file of a directory is not sent.
fn problem_with(directory: &Path, name: &str) -> Option<String> {
    let path = directory.join(name);
    let problem = |what: &str| Some(format!("`{}` {what}", shown(&path)));
    if let Some(problem) = name::problem(name) {
        return Some(format!("the name `{}` of a file {problem}", Visible(name)));
    }
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) => return problem(&format!("cannot be read: {error}")),
    };
    if !metadata.is_file() {
        return problem("is not a file");
    }
    if !stays_inside(directory, &path) {
        return problem(
            "is a link to a file elsewhere, which may not be one of the model: put a copy in its place",
        );
    }
    let is_weights = name.ends_with(".safetensors");
    match length_of_safetensors(&path).filter(|_| is_weights) {
        None if is_weights => problem("is not a safetensors file"),
        Some(length) if length != metadata.len() => problem(&format!(
            "has {} bytes, where its header says {length}",
            metadata.len()
        )),
        _ => None,
    }
}

/// Whether a path, with its links followed, is in the directory, or in the same repository of a cache of the Hub, where
/// files are links from `snapshots/COMMIT` to `blobs`.
fn stays_inside(directory: &Path, path: &Path) -> bool {
    let (Ok(directory), Ok(path)) = (fs::canonicalize(directory), fs::canonicalize(path)) else {
        return false;
    };
    let snapshots = directory.parent().filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots
        .and_then(Path::parent)
        .map(|repository| repository.join("blobs"));
    path.starts_with(&directory) || blobs.is_some_and(|blobs| path.starts_with(blobs))
}

/// A file to send, with its size and hashes.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Its name in the repository.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Its git hash.
    pub(super) git: String,
    /// Its first bytes.
    pub(super) sample: Vec<u8>,
    pub(super) content: Content,
    pub(super) stays: Option<fn(&str) -> bool>,
    stamp: Option<Stamp>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    file: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let file = 0;
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            file,
        }
    }
}

impl Packed {
    fn read(local: Local) -> Result<Self, HubError> {
        let path = match local.content {
            Content::Bytes(bytes) => {
                return Ok(Self {
                    stays: local.stays,
                    ..Self::of_bytes(&local.name, bytes)
                });
            }
            Content::File(path) => path,
        };
        let packed = Self::read_file(&local.name, &path).map_err(|error| HubError::Unsendable {
            problems: vec![format!("`{}` cannot be read: {error}", shown(&path))],
            hint: DAMAGED,
        })?;
        packed.check_unchanged()?;
        Ok(Self {
            stays: local.stays,
            ..packed
        })
    }

    /// Reads a file once, for both hashes.
    fn read_file(name: &str, path: &Path) -> io::Result<Self> {
        let mut file = cadft_files::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let (hashes, sample) = hashes(&mut file, stamp.size)?;
        Ok(Self {
            name: name.to_owned(),
            size: stamp.size,
            sha256: hashes.0,
            git: hashes.1,
            sample,
            content: Content::File(path.to_owned()),
            stays: None,
            stamp: Some(stamp),
        })
    }

    pub(super) fn of_bytes(name: &str, bytes: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
            git: git(&bytes),
            sample: bytes.iter().copied().take(SAMPLE).collect(),
            content: Content::Bytes(bytes),
            stays: None,
            stamp: None,
        }
    }

    /// Fails if the file is not the one that was hashed.
    pub(super) fn check_unchanged(&self) -> Result<(), HubError> {
        let Content::File(path) = &self.content else {
            return Ok(());
        };
        let now = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        if now == self.stamp {
            Ok(())
        } else {
            Err(HubError::Changed { path: path.clone() })
        }
    }

    /// The bytes from `from` on, to read `size` of them.
    pub(super) fn reader(&self, from: u64) -> Result<Box<dyn Read + '_>, HubError> {
        use std::io::{Cursor, Seek, SeekFrom};
        let path = match &self.content {
            Content::File(path) => path,
            Content::Bytes(bytes) => {
                let mut cursor = Cursor::new(bytes);
                cursor.set_position(from);
                return Ok(Box::new(cursor));
            }
        };
        self.check_unchanged()?;
        let opened = || -> io::Result<File> {
            let mut file = cadft_files::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        };
        match opened() {
            Ok(file) => Ok(Box::new(file)),
            Err(_) => Err(HubError::Changed { path: path.clone() }),
        }
    }

    /// The whole content, which must be that which was hashed.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, HubError> {
        let path = match &self.content {
            Content::Bytes(bytes) => return Ok(bytes.clone()),
            Content::File(path) => path,
        };
        let bytes = cadft_files::read_up_to(path, self.size).unwrap_or_default();
        if git(&bytes) == self.git {
            Ok(bytes)
        } else {
            Err(HubError::Changed { path: path.clone() })
        }
    }

    /// The file on disk; the name, if it is in memory.
    pub(super) fn path(&self) -> PathBuf {
        match &self.content {
            Content::File(path) => path.clone(),
            Content::Bytes(_) => PathBuf::from(&self.name),
        }
    }
}

fn git(bytes: &[u8]) -> String {
    let hash = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hex(&hash.chain_update(bytes).finalize())
}

/// The SHA-256 and the git hash of `size` bytes, and the first of them.
fn hashes(file: &mut File, size: u64) -> io::Result<((String, String), Vec<u8>)> {
    let mut sha256 = Sha256::new();
    let mut git = Sha1::new_with_prefix(format!("blob {size}\0"));
    let (mut piece, mut sample) = (vec![0; 1 << 20], vec![]);
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => return Ok(((hex(&sha256.finalize()), hex(&git.finalize())), sample)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let read = &piece[..count];
        sample.extend(read.iter().copied().take(SAMPLE - sample.len()));
        sha256.update(read);
        git.update(read);
    }
}

/// All files to send.
#[derive(Clone, Debug)]
pub struct Package {
    files: Vec<Packed>,
}

impl Package {
    /// Reads every file once, for its hashes.
    ///
    /// # Errors
    /// [`HubError::Unsendable`] if a file cannot be read; [`HubError::Changed`] if it is written meanwhile.
    pub fn read(files: Vec<Local>) -> Result<Self, HubError> {
        let mut files: Vec<Packed> = files.into_iter().map(Packed::read).collect::<Result<_, _>>()?;
        // Small files first, and the same order always.
        files.sort_by(|a, b| (a.size, &a.name).cmp(&(b.size, &b.name)));
        Ok(Self { files })
    }

    /// The files, the smallest first.
    #[must_use]
    pub fn files(&self) -> &[Packed] {
        &self.files
    }
}

#[cfg(test)]
mod tests;
