//! Ranks that wait for others leave notes in the run directory, so that the missing rank can be named.

use crate::hint::{self, Failure};
use cadft_step::Ranks;
use cadft_step::ranks::Watch;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The notes of one rank.
pub(super) struct Notes {
    directory: PathBuf,
    rank: usize,
    /// The name of each rank in messages.
    names: Vec<String>,
}

/// Prefix of the file name of a note.
const NOTE: &str = "waits-";

impl Notes {
    /// Removes notes that were left by ranks that were killed while they waited.
    pub(super) fn new(directory: &Path, ranks: &Ranks) -> Self {
        if ranks.is_first() {
            for name in cadft_files::entries(directory).unwrap_or_default() {
                if name.starts_with(NOTE) {
                    let _ = fs::remove_file(directory.join(name));
                }
            }
        }
        Self {
            directory: directory.to_owned(),
            rank: ranks.rank(),
            names: (0..ranks.count()).map(|rank| ranks.name(rank)).collect(),
        }
    }

    fn note(&self, rank: usize, call: u64) -> PathBuf {
        self.directory.join(format!("{NOTE}{rank:05}-{call}"))
    }
}

impl Watch for Notes {
    fn waits(&self, call: u64, what: &str) {
        // Best effort: without its note, this rank would be named as missing, in a message only.
        let _ = fs::create_dir_all(&self.directory);
        let _ = cadft_files::write(&self.note(self.rank, call), what);
    }

    fn ended(&self, call: u64) {
        let _ = fs::remove_file(self.note(self.rank, call));
    }

    fn gives_up(&self, call: u64, what: &str, waited: Duration) {
        let late: Vec<&str> = (self.names.iter().enumerate())
            .filter(|(rank, _)| !self.note(*rank, call).exists())
            .map(|(_, name)| name.as_str())
            .collect();
        let message = format!(
            "{} has waited {} s in `{what}` for {}",
            self.names[self.rank],
            waited.as_secs(),
            late.join(", ")
        );
        let hint =
            "look at that process and its host; `run.patience` says how long ranks wait for each other";
        let _ = hint::report(&Failure::new(message, hint).into());
    }
}
