//! A lock on a run directory: only one process at a time writes it.

use crate::error::TrainError;
use crate::run_files::LOCK;
use std::fs::{self, File, TryLockError};
use std::path::Path;

/// A lock that is held.
pub(super) struct Held(pub(super) File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file releases it too.
        let _ = self.0.unlock();
    }
}

/// Locks a directory, and creates it if it is missing.
pub(super) fn lock(path: &Path) -> Result<File, TrainError> {
    fs::create_dir_all(path).map_err(TrainError::io(path))?;
    let file = path.join(LOCK);
    let lock = cadft_files::append(&file).map_err(TrainError::io(&file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(TrainError::Locked(path.to_owned())),
        // Some network file systems do not support locks.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(lock),
        Err(TryLockError::Error(error)) => Err(TrainError::io(file)(error)),
    }
}
