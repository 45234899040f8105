//! Limits on the time and size of what is fetched from the Hub and sent to it.

use std::time::Duration;

/// Limits on time, size and number. A server that exceeds one of them causes an error.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time for resolving the host name, and for connecting with TLS.
    pub connect: Duration,
    /// Time from a request to the end of the answer's headers.
    pub answer: Duration,
    /// Time between two pieces of an answer.
    pub silence: Duration,
    /// In this time a file must grow by [`Limits::progress_bytes`]. A large file may take hours, but must not stall.
    pub progress: Duration,
    /// Bytes by which a file must grow in [`Limits::progress`].
    pub progress_bytes: u64,
    /// Time for a whole JSON answer.
    pub listing: Duration,
    /// Bytes of one JSON answer.
    pub listing_bytes: u64,
    /// Bytes of a file that is neither weights nor data, and of a file whose size the Hub does not report.
    pub small_bytes: u64,
    /// Bytes of a file that is sent within a commit. Larger ones go to the Hub's storage.
    pub commit_bytes: u64,
    /// Time for the answer to what was sent: the Hub looks at a file before it answers.
    pub acceptance: Duration,
    /// Number of files in a repository.
    pub files: usize,
    /// Number of redirections from one address.
    pub redirects: u32,
    /// Number of retries of a request while the Hub is busy, and of a download without progress.
    pub retries: u32,
    /// Wait before the first retry. It doubles each time, unless the Hub specifies a wait.
    pub wait: Duration,
    /// Longest wait before a retry, even if the Hub asks for more.
    pub longest_wait: Duration,
    /// Wait for another process that downloads the same file.
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
            commit_bytes: 32 << 20,
            acceptance: Duration::from_secs(300),
            files: 100_000,
            redirects: 8,
            retries: 4,
            wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            lock: Duration::from_secs(3600),
        }
    }
}
