//! Detects from the messages of backends that a device ran out of memory, and makes one error of them.
//!
//! Burn's operations do not return errors. If the device has no room for a buffer, a later operation that reads the
//! buffer panics with a message. These are the messages of CubeCL 0.11.3, wgpu 30 and the CUDA driver:
//!
//! | backend | words |
//! |---|---|
//! | all of CubeCL's | `can't allocate buffer of size: N`, larger than any that the device has |
//! | `cuda`, `rocm`, `vulkan` | `out of device memory allocating N bytes`; `out-of-memory` of a launch |
//! | `wgpu` | `Out of Memory` on the device's own thread; readers then find memory that `was never initialized` |

use std::any::Any;
use std::fmt::{self, Display, Formatter};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

const MIB: f64 = (1 << 20) as f64;

/// Phrases, in lower case, for a buffer that is larger than the device allows. The size follows the first of them.
const TOO_LARGE: [&str; 2] = ["can't allocate buffer of size: ", "maximum buffer size"];
/// Phrases, in lower case, for exhausted memory. The size follows the first two.
const FULL: [&str; 7] = [
    "out of device memory allocating ",
    "can't allocate ",
    "out of memory",
    "out-of-memory",
    "out_of_memory",
    "not enough memory left",
    "memory location was never initialized",
];

/// A failed allocation on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Size of the buffer in bytes, if the backend reports it.
    pub bytes: Option<u64>,
    /// Whether the buffer is larger than the device ever allows, however much memory is free.
    pub is_too_large: bool,
}

impl Exhausted {
    /// Interprets the message of a panic or a backend error; `None` if it is not about memory.
    #[must_use]
    pub fn of_message(message: &str) -> Option<Self> {
        let text = message.to_lowercase();
        let found = |words: &[&str]| {
            words
                .iter()
                .find_map(|word| text.find(word).map(|at| at + word.len()))
        };
        let number = |at: usize| {
            let digits = text[at..].split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok())
        };
        let (at, is_too_large) = found(&TOO_LARGE)
            .map(|at| (at, true))
            .or_else(|| Some((found(&FULL)?, false)))?;
        let bytes = number(at);
        Some(Self { bytes, is_too_large })
    }

    /// Interprets the payload of a panic.
    #[must_use]
    pub fn of_panic(payload: &(dyn Any + Send)) -> Option<Self> {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Self::of_message(text.or_else(|| payload.downcast_ref::<&str>().copied())?)
    }
}

impl Display for Exhausted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mib = self.bytes.map(|bytes| format!("{:.1} MiB", bytes as f64 / MIB));
        match (mib, self.is_too_large) {
            (Some(mib), true) => write!(f, "no buffer of the device can have the {mib} that are needed"),
            (None, true) => f.write_str("a buffer is larger than any of the device may be"),
            (Some(mib), false) => write!(f, "the device ran out of memory: no room for {mib} more"),
            (None, false) => f.write_str("the device ran out of memory"),
        }
    }
}

/// A run that ended because a device ran out of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct ExhaustedRun {
    /// The failed allocation.
    pub what: Exhausted,
    /// Number of steps whose outcome was read from the device.
    pub step: usize,
    /// The estimate of the plan, in MiB.
    pub estimate_mib: f64,
    /// The newest undamaged checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// The run directory.
    pub run: PathBuf,
    /// Settings that need less memory, as a sentence.
    pub advice: String,
}

impl ExhaustedRun {
    /// What to do about it.
    pub fn hints(&self) -> impl Iterator<Item = String> {
        let goes_on = self.checkpoint.is_some().then(|| {
            let run = cadft_files::shown(&self.run);
            format!("`cadft train --resume {run} --allow-change --set KEY=VALUE` goes on with less")
        });
        std::iter::once(self.advice.clone()).chain(goes_on)
    }
}

impl Display for ExhaustedRun {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { what, step, .. } = self;
        let moment = match step {
            0 => "before the end of the first step".to_owned(),
            // The next step may have been in flight.
            step => format!("after the end of step {step}"),
        };
        writeln!(f, "{moment}: {what}")?;
        writeln!(f, "the run was estimated to need {:.0} MiB", self.estimate_mib)?;
        match &self.checkpoint {
            Some(path) => write!(
                f,
                "the last checkpoint is intact: `{}`",
                cadft_files::shown(&path)
            ),
            None => f.write_str("there is no checkpoint yet"),
        }
    }
}

/// The result of `run`, or the failed allocation if it panicked for lack of memory. Other panics are resumed.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Exhausted> {
    // Unwind safe: after a panic, the trainer is only asked for its last known step.
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        Exhausted::of_panic(payload.as_ref()).unwrap_or_else(|| panic::resume_unwind(payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_backends_say_without_memory_is_understood() {
        for (message, bytes, is_too_large) in [
            (
                "Error while reading data: use `try_execute` to handle error at runtime: An error happened during \
                 execution\nCaused by:\n  Several failures at once\nCaused by:\n  An IO error happened\nCaused by:\n  \
                 can't allocate buffer of size: 577152576\nNo backtrace available",
                Some(577_152_576),
                true,
            ),
            (
                "wgpu error: Validation Error: Buffer size 9 is greater than the maximum buffer size (4)",
                None,
                true,
            ),
            (
                "An IO error happened\nCaused by:\n  out of device memory allocating 1048576 bytes\n",
                Some(1_048_576),
                false,
            ),
            (
                "Can't allocate 64 bytes: every page size the memory tracks still holds live allocations",
                Some(64),
                false,
            ),
            ("wgpu error: Out of Memory", None, false),
            (
                "An out-of-memory error happened during launch\nCaused by:\n  no",
                None,
                false,
            ),
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"..\")", None, false),
            (
                "couldn't find resource for that handle: Memory location was never initialized",
                None,
                false,
            ),
        ] {
            let expected = Exhausted { bytes, is_too_large };
            assert_eq!(Exhausted::of_message(message), Some(expected), "{message}");
        }
        for message in ["index out of bounds", "The device is poisoned", ""] {
            assert_eq!(Exhausted::of_message(message), None, "{message}");
        }
    }

    #[test]
    fn other_panics_go_on() {
        let full = caught(|| -> () { panic!("wgpu error: Out of Memory") });
        assert!(full.is_err());
        assert_eq!(caught(|| 7), Ok(7));
        let other = panic::catch_unwind(|| caught(|| -> () { panic!("a mistake") }));
        assert_eq!(other.unwrap_err().downcast_ref::<&str>(), Some(&"a mistake"));
    }
}
