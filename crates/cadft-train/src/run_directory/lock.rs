//! One process at a time writes a run directory.

use crate::error::TrainError;
use crate::run_files::LOCK;
use std::fs::{self, File, TryLockError};
use std::path::Path;

/// A run directory that is held.
pub(super) struct Held(pub(super) File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file releases it too.
        let _ = self.0.unlock();
    }
}

/// Takes the lock of a directory, which is made if it is absent.
pub(super) fn lock(path: &Path) -> Result<File, TrainError> {
    fs::create_dir_all(path).map_err(TrainError::io(path))?;
    let file = path.join(LOCK);
    let lock = cadft_files::append(&file).map_err(TrainError::io(&file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(TrainError::Locked(path.to_owned())),
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(lock),
        Err(TryLockError::Error(error)) => Err(TrainError::io(file)(error)),
    }
}
