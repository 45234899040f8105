//! Devices that run out of memory: what backends say when it happens, and one error that says what to do.
//!
//! Burn's operations do not fail. A buffer that the device has no room for fails whatever reads it, later, and that
//! ends the thread with a message; the words here are those of CubeCL 0.11.3, wgpu 30 and the CUDA driver:
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

/// Words that mean a buffer larger than any of the device, in lower case; the size follows the first of them.
const TOO_LARGE: [&str; 2] = ["can't allocate buffer of size: ", "maximum buffer size"];
/// Words that mean that no memory is left, in lower case; the size follows the first two.
const FULL: [&str; 7] = [
    "out of device memory allocating ",
    "can't allocate ",
    "out of memory",
    "out-of-memory",
    "out_of_memory",
    "not enough memory left",
    "memory location was never initialized",
];

/// Memory that a device did not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Size of the buffer that could not be made, if the backend reports it.
    pub bytes: Option<u64>,
    /// Whether it is larger than any buffer of the device may be, however much memory is left.
    pub is_too_large: bool,
}

impl Exhausted {
    /// What the message of a panic or of a backend's error means; `None` where it is not about memory.
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

    /// What the payload of a panic means.
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

/// A run that a device had no memory for.
#[derive(Clone, Debug, PartialEq)]
pub struct ExhaustedRun {
    /// What the device said.
    pub what: Exhausted,
    /// Steps that were done, and whose end was read from the device.
    pub step: usize,
    /// The estimate of the plan, in MiB.
    pub estimate_mib: f64,
    /// The newest checkpoint, which was found intact.
    pub checkpoint: Option<PathBuf>,
    /// The run directory.
    pub run: PathBuf,
    /// Settings that take less, as a sentence.
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
            // The next one may have been in flight.
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

/// What `run` gives, or what the device said when it had no memory left. Other panics go on.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Exhausted> {
    // What `run` has changed is not used again, but for what it says of itself.
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
