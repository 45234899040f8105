//! Exit codes.

use signal_hook::low_level;
use std::io::{self, Write};

/// The result of a command, with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Done = 0,
    /// It failed, and the input is not at fault.
    Failed = 1,
    /// Usage, recipe or input is wrong.
    Usage = 2,
    /// It was interrupted, after a save.
    Interrupted = 130,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Ends the process at once with this exit code, without running `atexit` handlers.
    ///
    /// When a run ends early, threads of a graphics driver may still be compiling. The `atexit` handlers of its
    /// compiler destroy data that these threads use, and the process would end with a signal instead of the exit code.
    pub fn end(self) -> ! {
        // A failure to flush cannot be reported any more.
        let _ = io::stdout().flush();
        let _ = io::stderr().flush();
        low_level::exit(i32::from(self.code()))
    }
}
