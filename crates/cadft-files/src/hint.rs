//! Hints of errors: what to do, and whether the input is at fault.

use std::borrow::Cow;
use std::error::Error;

/// An error whose advice is separate from its message.
pub trait Hint: Error {
    /// What to do about the error, in reading order; empty if the message is enough.
    fn hints(&self) -> Vec<Cow<'_, str>>;

    /// Whether the input is at fault: the same input fails again. Otherwise the machine, its disk or the network
    /// failed, and a retry may succeed.
    fn is_input(&self) -> bool;
}

/// The message of an error, then each hint on a separate line.
#[must_use]
pub fn with_hints(error: &dyn Hint) -> String {
    let mut text = error.to_string();
    for hint in error.hints() {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}
