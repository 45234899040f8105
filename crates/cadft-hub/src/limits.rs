//! How long the Hub is waited for, and how much of it is taken.

use std::time::Duration;

/// Bounds on time, size and number; a server that passes one of them is an error.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Looking up a name, connecting and agreeing on a key.
    pub connect: Duration,
    /// From a request to the end of the headers of its answer.
    pub answer: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
    /// In this time, a file must grow by [`Limits::progress_bytes`]: a large file may take hours, but not stand still.
    pub progress: Duration,
    /// As much a file must grow by in [`Limits::progress`].
    pub progress_bytes: u64,
    /// The whole of one answer with JSON.
    pub listing: Duration,
    /// Bytes of one answer with JSON.
    pub listing_bytes: u64,
    /// Bytes of a file that is neither weights nor data, and of one whose size the Hub does not tell.
    pub small_bytes: u64,
    /// Files of one repository.
    pub files: usize,
    /// Redirections from one address.
    pub redirects: u32,
    /// How often a request is repeated that the Hub was too busy for, and a download without progress.
    pub retries: u32,
    /// The wait before the first repetition; it doubles each time, unless the Hub says how long.
    pub wait: Duration,
    /// The Hub is not waited for longer than this before a repetition, whatever it says.
    pub longest_wait: Duration,
    /// For another process that downloads the same file.
    pub lock: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            progress: Duration::from_secs(60),
            progress_bytes: 64 << 10,
            listing: Duration::from_secs(60),
            listing_bytes: 32 << 20,
            small_bytes: 128 << 20,
            files: 100_000,
            redirects: 8,
            retries: 4,
            wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            lock: Duration::from_secs(3600),
        }
    }
}
