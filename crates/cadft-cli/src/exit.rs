//! How a command ends.

use signal_hook::low_level;
use std::io::{self, Write};

/// How a command ended.
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

    /// Ends the process with this exit code, and at once: what libraries registered with `atexit` is not run.
    ///
    /// The threads of a graphics driver may still compile when a run ends early. The handlers of its compiler take down what those
    /// threads work with, and the process would end with a signal in place of the code.
    pub fn end(self) -> ! {
        // There is no place left to report it.
        let _ = io::stdout().flush();
        let _ = io::stderr().flush();
        low_level::exit(i32::from(self.code()))
    }
}
