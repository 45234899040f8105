//! Panics: kept instead of shown, so that what ends a command is one error.
//!
//! Backends end the thread if they cannot continue, and the thread is often one of their own: its words are the reason, and
//! those of the main thread the consequence.

use crate::exit::Exit;
use crate::hint::{self, Failure};
use cadft_train::Exhausted;
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::{Mutex, PoisonError};

/// With `--verbose` given so often, panics are shown as they happen, too.
const SHOWN: u8 = 2;
/// Panics that are kept: the first of many is the one to read.
const KEPT: usize = 16;

static SEEN: Mutex<Vec<Seen>> = Mutex::new(vec![]);

/// A panic.
struct Seen {
    message: String,
    place: String,
    /// Where `RUST_BACKTRACE` asks for it.
    backtrace: Option<String>,
}

/// Keeps panics from now on.
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

/// How many panics are kept so far.
pub(crate) fn kept() -> usize {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// What the first panic after those said that were kept before. They are dealt with then, and not kept any longer.
pub(crate) fn first_since(before: usize) -> Option<String> {
    let mut all = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let first = all.get(before).map(|seen| reason(&seen.message));
    all.truncate(before);
    first
}

/// Why, in one line, of a message that may have many: that memory is gone, or the cause that is named last, or the first
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

/// Reports why a command ended with a panic.
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

/// What panics say about memory; the one that names a size, where one does.
fn exhausted<'a>(messages: impl Iterator<Item = &'a str>) -> Option<Exhausted> {
    let found: Vec<_> = messages.filter_map(Exhausted::of_message).collect();
    let sized = found.iter().find(|what| what.bytes.is_some());
    sized.or(found.first()).copied()
}

/// What a thread said when it ended.
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
