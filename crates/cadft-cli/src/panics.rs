//! Records panics instead of showing them, so that a command that panics reports one error.
//!
//! Backends panic if they cannot continue, often in a thread of their own. The message of that thread is the reason;
//! the panic of the main thread is only a consequence.

use crate::exit::Exit;
use crate::hint::{self, Failure};
use cadft_train::Exhausted;
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::{Mutex, PoisonError};

/// With this number of `--verbose` options, panics are also shown when they happen.
const SHOWN: u8 = 2;
/// Largest number of panics that are kept. The first ones matter.
const KEPT: usize = 16;

static SEEN: Mutex<Vec<Seen>> = Mutex::new(vec![]);

/// A panic.
struct Seen {
    message: String,
    place: String,
    /// The backtrace, if `RUST_BACKTRACE` asks for one.
    backtrace: Option<String>,
}

/// Records panics from now on.
pub(crate) fn keep(verbose: u8) {
    let shown = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if verbose >= SHOWN {
            shown(info);
        }
        let backtrace = Backtrace::capture();
        let is_captured = backtrace.status() == BacktraceStatus::Captured;
        let seen = Seen {
            message: message_of(info.payload()).to_owned(),
            place: info.location().map(ToString::to_string).unwrap_or_default(),
            backtrace: is_captured.then(|| backtrace.to_string()),
        };
        let mut all = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < KEPT {
            all.push(seen);
        }
    }));
}

/// Number of panics recorded so far.
pub(crate) fn kept() -> usize {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// The message of the first panic after the first `before` ones. Removes those after `before`: the caller handles them.
pub(crate) fn first_since(before: usize) -> Option<String> {
    let mut all = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let first = all.get(before).map(|seen| reason(&seen.message));
    all.truncate(before);
    first
}

/// The reason in a message of several lines, as one line: that memory is exhausted, else the last cause, else the first
/// line.
pub(crate) fn reason(message: &str) -> String {
    if let Some(what) = Exhausted::of_message(message) {
        return what.to_string();
    }
    let cause = message
        .rsplit_once("Caused by:")
        .map_or(message, |(_, cause)| cause);
    let mut lines = cause.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().unwrap_or_default().to_owned()
}

/// Reports the panic that ended a command.
pub(crate) fn report(payload: &(dyn Any + Send)) -> Exit {
    let all = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let said = all.iter().map(|seen| seen.message.as_str());
    if let Some(what) = exhausted(said.chain([message_of(payload)])) {
        let hint = "take less at a time, with `--micro`, `--batch` or shorter texts, or use another device";
        return hint::report(&Failure::new(what.to_string(), hint).into());
    }
    let (place, backtrace) = match all.first() {
        Some(seen) => (format!("\nat {}", seen.place), seen.backtrace.as_deref()),
        None => (String::new(), None),
    };
    let message = all.first().map_or(message_of(payload), |seen| &seen.message);
    let backtrace = backtrace.map_or_else(String::new, |text| format!("\n{text}"));
    let message = format!("this should not have happened: {message}{place}{backtrace}");
    let hint = "please report it with the command; `RUST_BACKTRACE=1` adds where it comes from";
    hint::report(&Failure::new(message, hint).into())
}

/// The message about exhausted memory, if there is one; preferably one that names a size.
fn exhausted<'a>(messages: impl Iterator<Item = &'a str>) -> Option<Exhausted> {
    let found: Vec<_> = messages.filter_map(Exhausted::of_message).collect();
    let sized = found.iter().find(|what| what.bytes.is_some());
    sized.or(found.first()).copied()
}

/// The message of a panic payload.
pub(crate) fn message_of(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no reason was given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_last_cause_or_the_first_line() {
        let said = "Error while reading data: use `try_into_scalar` instead: An error happened during execution\n\
                    Caused by:\n  Several failures at once\nCaused by:\n  the kernel was not compiled\nNo backtrace available";
        assert_eq!(reason(said), "the kernel was not compiled");
        let said = said.replace(
            "the kernel was not compiled",
            "out of device memory allocating 8388608 bytes",
        );
        assert_eq!(
            reason(&said),
            "the device ran out of memory: no room for 8.0 MiB more"
        );
        assert_eq!(reason("index out of bounds\nthe len is 3"), "index out of bounds");
    }

    #[test]
    fn the_message_with_a_size_says_most() {
        let what = exhausted(
            [
                "wgpu error: Out of Memory",
                "can't allocate buffer of size: 7",
                "index out of bounds",
            ]
            .into_iter(),
        );
        assert_eq!(what.and_then(|what| what.bytes), Some(7));
        assert_eq!(exhausted(["index out of bounds"].into_iter()), None);
    }
}
