//! Errors of reading and writing checkpoints.

use cadft_files::{Action, Hint};
use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file operation failed.
    #[error("cannot {action} `{}`: {source}", cadft_files::shown(.path))]
    Io {
        /// The operation.
        action: Action,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file of a checkpoint is not as it was written.
    #[error("`{}` is damaged: {message}", cadft_files::shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How the damage shows.
        message: String,
    },
    /// A model cannot be written or read.
    #[error(transparent)]
    Model(#[from] cadft_model::ModelError),
    /// Another rank did not write its part.
    #[error("{message}")]
    OfRank {
        /// The name of the rank, and its error.
        message: String,
    },
    /// There is less free space than a checkpoint needs.
    #[error(
        "no space for a checkpoint in `{}`: {} MiB are needed, {} MiB are free",
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
    pub(crate) fn io(action: Action, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn damaged(path: &Path, message: &dyn Display) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}

impl Hint for CheckpointError {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::NoSpace { .. } => {
                vec!["free some space, or keep fewer checkpoints with `checkpoint.keep`".into()]
            }
            Self::Model(error) => error.hints(),
            Self::Io { .. } | Self::Damaged { .. } | Self::OfRank { .. } => vec![],
        }
    }

    /// Whether the input is at fault, rather than the machine that a checkpoint is written to.
    fn is_input(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { action, .. } => action.is_read(),
            Self::Model(_) | Self::NoSpace { .. } | Self::OfRank { .. } => false,
        }
    }
}
