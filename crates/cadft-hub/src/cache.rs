//! The cache on disk, laid out as Python's `huggingface_hub` does.
//!
//! ```text
//! CACHE/CACHEDIR.TAG
//! CACHE/.locks/models--OWNER--NAME/ETAG.lock
//! CACHE/models--OWNER--NAME/refs/main                       the commit
//!                           blobs/ETAG                      a content
//!                           snapshots/COMMIT/data/a.jsonl   -> ../../../blobs/ETAG
//!                           trees/COMMIT.json               all files of the commit
//! ```

use crate::Hub;
use crate::error::HubError;
use crate::listing::{self, Files};
use crate::name::is_commit;
use crate::spec::Spec;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::{Builder, NamedTempFile};

/// As Python writes it. Backup programs skip directories with this tag.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by huggingface_hub.\n\
    # For information about cache directory tags, see:\n\
    #\thttps://bford.info/cachedir/\n";

/// The part of the cache for one repository.
pub(crate) struct Repository {
    cache: PathBuf,
    folder: String,
}

impl Repository {
    pub(crate) fn new(hub: &Hub, spec: &Spec) -> Self {
        Self {
            cache: hub.cache.clone(),
            folder: spec.folder(),
        }
    }

    fn root(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root().join("blobs")
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root().join("snapshots").join(commit)
    }

    /// The commit that the cache stores for a revision.
    pub(crate) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.root().join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The commits of which the cache holds any file.
    pub(crate) fn commits(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root().join("snapshots"))
            .into_iter()
            .flatten()
            .flatten();
        let mut commits: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_commit(name))
            .collect();
        commits.sort();
        commits
    }

    /// The listing of a commit, if the cache has one.
    pub(crate) fn files(&self, commit: &str) -> Option<Files> {
        listing::from_cache(&fs::read(self.tree(commit)).ok()?)
    }

    pub(crate) fn write_files(&self, commit: &str, files: &Files) -> Result<(), HubError> {
        write(&self.tree(commit), &listing::for_cache(files))
    }

    fn tree(&self, commit: &str) -> PathBuf {
        self.root().join("trees").join(format!("{commit}.json"))
    }

    /// Stores the commit of a revision.
    pub(crate) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.root().join("refs").join(revision);
        if revision == commit || fs::read_to_string(&path).is_ok_and(|text| text == commit) {
            return Ok(());
        }
        write(&path, commit.as_bytes())
    }

    /// Creates the directories that every download needs.
    pub(crate) fn create(&self) -> Result<(), HubError> {
        create(&self.blobs())?;
        let tag = self.cache.join("CACHEDIR.TAG");
        if tag.exists() {
            Ok(())
        } else {
            write(&tag, TAG.as_bytes())
        }
    }

    /// Locks a content against downloads by other processes, until the returned file is dropped.
    pub(crate) fn lock(&self, etag: &str, limit: Duration) -> Result<File, HubError> {
        let directory = self.cache.join(".locks").join(&self.folder);
        create(&directory)?;
        let path = directory.join(format!("{etag}.lock"));
        let fail = |source| HubError::io("lock", &path)(source);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(fail)?;
        let end = Instant::now() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(fail(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "another process has been downloading the file for too long",
                    )));
                }
                // On a file system without locks each process writes a separate part, so nothing is damaged.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(file);
                }
                Err(TryLockError::Error(error)) => return Err(fail(error)),
            }
        }
    }

    /// Links a name in a snapshot to a content.
    pub(crate) fn point(&self, commit: &str, name: &str, etag: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(name);
        let target = target(name, etag);
        if fs::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let directory = path.parent().expect("a name is below its snapshot");
        create(directory)?;
        let fail = |source| HubError::io("write", &path)(source);
        let made = Builder::new()
            .suffix(".tmp")
            .make_in(directory, |link| symlink(&target, link))
            .map(NamedTempFile::into_temp_path);
        let made = match made {
            Ok(made) => made,
            // Without links, the content itself is copied into the snapshot.
            Err(error) if is_without_links(&error) => {
                let copy = Builder::new()
                    .suffix(".tmp")
                    .tempfile_in(directory)
                    .map_err(fail)?;
                fs::copy(self.blobs().join(etag), copy.path()).map_err(fail)?;
                copy.into_temp_path()
            }
            Err(error) => return Err(fail(error)),
        };
        made.persist(&path).map_err(|error| fail(error.error))
    }

    /// Whether a name in a snapshot links to this content. Any regular file counts too: it may be a copy, on systems
    /// without links.
    pub(crate) fn stands_for(&self, commit: &str, name: &str, etag: &str) -> bool {
        let path = self.snapshot(commit).join(name);
        match fs::read_link(&path) {
            Ok(found) => found == target(name, etag),
            Err(_) => path.is_file(),
        }
    }
}

/// The relative path of a content, from the directory of a name in a snapshot.
fn target(name: &str, etag: &str) -> PathBuf {
    let up = "../".repeat(name.split('/').count() + 1);
    PathBuf::from(format!("{up}blobs/{etag}"))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// Whether an error means that links are impossible: the file system has none, or Windows forbids them.
fn is_without_links(error: &io::Error) -> bool {
    const NO_RIGHT_ON_WINDOWS: i32 = 1314;
    error.kind() == io::ErrorKind::Unsupported
        || (cfg!(windows) && error.raw_os_error() == Some(NO_RIGHT_ON_WINDOWS))
}

/// A new file with the user's default permissions; it is removed unless it is renamed.
pub(crate) fn temporary(directory: &Path, prefix: &str, suffix: &str) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(prefix).suffix(suffix).rand_bytes(8);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory)
}

fn create(directory: &Path) -> Result<(), HubError> {
    fs::create_dir_all(directory).map_err(HubError::io("create", directory))
}

/// Writes a small file atomically.
fn write(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    create(path.parent().expect("files of the cache are in directories"))?;
    cadft_files::write(path, bytes).map_err(HubError::io("write", path))
}
