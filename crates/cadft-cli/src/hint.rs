//! Shows errors, and decides the exit code of a command that failed.

use crate::exit::Exit;
use crate::shown::Shown;
use cadft_data::DataError;
use cadft_files::Hint;
use cadft_model::ModelError;
use cadft_train::checkpoint::CheckpointError;
use cadft_train::hub::HubError;
use cadft_train::{TrainError, Warning};
use console::Style;
use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};

/// Wrong usage, or input that a command cannot work with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct UsageError {
    message: String,
    hint: String,
}

impl UsageError {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl Hint for UsageError {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        vec![(&self.hint).into()]
    }

    fn is_input(&self) -> bool {
        true
    }
}

/// A command that failed although its input is valid.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    message: String,
    hint: &'static str,
}

impl Failure {
    pub(crate) fn new(message: String, hint: &'static str) -> Self {
        Self { message, hint }
    }
}

impl Hint for Failure {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        vec![self.hint.into()]
    }

    fn is_input(&self) -> bool {
        false
    }
}

/// Shows an error on standard error. Returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if is_closed_pipe(error) {
        return Exit::Done;
    }
    let red = Style::new().for_stderr().red().bold();
    let (lines, hints) = told(error);
    show(&Shown::styled(&red, "error"), &lines, &hints);
    if is_input(error) {
        Exit::Usage
    } else {
        Exit::Failed
    }
}

/// Shows a warning on standard error.
pub(crate) fn warn(warning: &Warning) {
    let yellow = Style::new().for_stderr().yellow().bold();
    let lines: Vec<String> = warning.message.lines().map(str::to_owned).collect();
    show(
        &Shown::styled(&yellow, "warning"),
        &lines,
        &[warning.hint.as_str().into()],
    );
}

/// Whether the error is a closed pipe: the reader of standard output has exited, which is not a failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Shows the first line after the label, the other lines below it, and the hints at the end.
fn show(label: &Shown, lines: &[String], hints: &[Cow<'_, str>]) {
    let cyan = Style::new().for_stderr().cyan().bold();
    let lines = lines.iter().enumerate().map(|(index, line)| match index {
        0 => label.clone().and(format!(": {line}\n")),
        _ => Shown::from(format!("  {line}\n")),
    });
    let hints = hints
        .iter()
        .map(|hint| Shown::styled(&cyan, "hint").and(format!(": {hint}\n")));
    let shown: Shown = lines.chain(hints).collect();
    // If standard error is closed, the failure cannot be reported.
    let _ = io::stderr().write_all(shown.as_str().as_bytes());
}

/// The lines of the error and of its causes, and all of their hints. Causes whose text the error contains are not
/// repeated.
fn told(error: &anyhow::Error) -> (Vec<String>, Vec<Cow<'_, str>>) {
    let (mut lines, mut hints) = (Vec::new(), Vec::new());
    let mut said = String::new();
    for hint in advising(error).flat_map(Hint::hints) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    for (depth, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        if said.contains(&text) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if depth > 0 && index == 0 {
                lines.push(format!("cause: {line}"));
            } else {
                lines.push(line.to_owned());
            }
        }
        said.push_str(&text);
    }
    (lines, hints)
}

/// The text that [`report`] would show, without colours and label.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let (lines, hints) = told(error);
    let hints = hints.iter().map(|hint| format!("hint: {hint}"));
    lines.into_iter().chain(hints).collect::<Vec<_>>().join("\n")
}

/// Whether the input is at fault.
pub(crate) fn is_input(error: &anyhow::Error) -> bool {
    advising(error).any(Hint::is_input)
}

/// The errors of a chain that implement [`Hint`].
fn advising(error: &anyhow::Error) -> impl Iterator<Item = &dyn Hint> {
    // An error that was added as context is wrapped in another type; only `anyhow` can downcast it.
    let context = error.downcast_ref::<UsageError>().map(|error| error as &dyn Hint);
    context.into_iter().chain(error.chain().filter_map(advice))
}

/// The [`Hint`] of an error, if it is one of our types.
fn advice<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a dyn Hint> {
    fn of<'a, E: Hint + 'static>(cause: &'a (dyn Error + 'static)) -> Option<&'a dyn Hint> {
        cause.downcast_ref::<E>().map(|error| error as &dyn Hint)
    }
    of::<UsageError>(cause)
        .or_else(|| of::<Failure>(cause))
        .or_else(|| of::<TrainError>(cause))
        .or_else(|| of::<DataError>(cause))
        .or_else(|| of::<ModelError>(cause))
        .or_else(|| of::<HubError>(cause))
        .or_else(|| of::<CheckpointError>(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use cadft_files::Action;

    #[test]
    fn hints_come_last_and_causes_are_named_once() {
        let error = io::Error::other("the disk is full");
        let usage = UsageError::new("the data is wrong: the disk is full", "buy a disk");
        let error = anyhow::Error::from(error).context(usage);
        let (lines, hints) = told(&error);
        assert_eq!(lines, ["the data is wrong: the disk is full"]);
        assert_eq!(hints, ["buy a disk"]);
        assert!(is_input(&error));
        let error = Err::<(), _>(UsageError::new("inner\nhint: of a file", "do this")).context("outer");
        let error = error.unwrap_err();
        let (lines, hints) = told(&error);
        assert_eq!(lines, ["outer", "cause: inner", "hint: of a file"]);
        assert_eq!(hints, ["do this"], "what a file says is no hint of this program");
    }

    #[test]
    fn what_cannot_be_read_is_input_and_what_cannot_be_written_is_not() {
        let io = |action| {
            anyhow::Error::from(TrainError::Model(ModelError::Io {
                action,
                path: "model".into(),
                source: io::Error::other("no"),
            }))
        };
        assert!(is_input(&io(Action::Open)) && !is_input(&io(Action::Write)));
        assert!(is_input(&anyhow::Error::from(UsageError::new("a", "b"))));
        assert!(!is_input(&anyhow::Error::from(io::Error::other("no"))));
    }
}
