//! What can be wrong with a checkpoint.

use cadft_files::{Action, Hint};
use std::borrow::Cow;
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
        /// What was being done.
        action: Action,
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
    /// Another rank did not write its part.
    #[error("{message}")]
    OfRank {
        /// What the rank says, with its name.
        message: String,
    },
    /// There is less space than a checkpoint needs.
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

    /// Whether what was read is at fault, rather than the machine that it should have been written to.
    fn is_input(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { action, .. } => action.is_read(),
            Self::Model(_) | Self::NoSpace { .. } | Self::OfRank { .. } => false,
        }
    }
}
