//! What can be wrong with a checkpoint.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file system says no.
    #[error("cannot {action} `{}`: {source}", cadft_files::shown(.path))]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of a checkpoint is not what was written.
    #[error("`{}` is damaged: {message}", cadft_files::shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        message: String,
    },
    /// A model that cannot be written or read.
    #[error(transparent)]
    Model(#[from] cadft_model::ModelError),
    /// There is less space than a checkpoint needs.
    #[error(
        "no space for a checkpoint in `{}`: {} MiB are needed, {} MiB are free\n\
         hint: free some space, or keep fewer checkpoints with `checkpoint.keep`",
        cadft_files::shown(.path), .needed / MIB, .available / MIB
    )]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
}

const MIB: u64 = 1 << 20;

impl CheckpointError {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn damaged(path: &Path, message: &dyn Display) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }

    /// Whether what was read is at fault, rather than the machine it should have been written to.
    #[must_use]
    pub fn is_input(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { action, .. } => *action == "read",
            Self::Model(_) | Self::NoSpace { .. } => false,
        }
    }
}
