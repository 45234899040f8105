//! What an error says beside its message: what to do about it, and whether the input is at fault.

use std::borrow::Cow;
use std::error::Error;

/// An error with advice, which is kept apart from its message.
pub trait Hint: Error {
    /// What to do about it, in the order to read it in; nothing if the message says it all.
    fn hints(&self) -> Vec<Cow<'_, str>>;

    /// Whether the input is at fault: the same input fails again. Otherwise it is the machine, its disk or the network, and
    /// the next attempt may succeed.
    fn is_input(&self) -> bool;
}

/// The message of an error, and below it each hint on a line of its own.
#[must_use]
pub fn with_hints(error: &dyn Hint) -> String {
    let mut text = error.to_string();
    for hint in error.hints() {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}
