//! Errors: how they are shown, and how a command ends with one.

use crate::exit::Exit;
use crate::shown::Shown;
use cadft_data::DataError;
use cadft_model::ModelError;
use cadft_train::hub::HubError;
use cadft_train::{TrainError, Warning};
use console::Style;
use std::io::{self, Write};

/// Usage or input that a command cannot work with.
#[derive(Debug, thiserror::Error)]
#[error("{message}\nhint: {hint}")]
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

/// Shows an error on standard error; how a command ends with it.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if is_closed_pipe(error) {
        return Exit::Done;
    }
    let red = Style::new().for_stderr().red().bold();
    show(&Shown::styled(&red, "error"), &text_of(error));
    if is_input(error) {
        Exit::Usage
    } else {
        Exit::Failed
    }
}

/// Shows a warning on standard error.
pub(crate) fn warn(warning: &Warning) {
    let yellow = Style::new().for_stderr().yellow().bold();
    let text = format!("{}\nhint: {}", warning.message, warning.hint);
    show(&Shown::styled(&yellow, "warning"), &text);
}

/// Whether the reader of standard output has gone, which is no error.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn show(label: &Shown, text: &str) {
    let cyan = Style::new().for_stderr().cyan().bold();
    let lines = text.lines().enumerate();
    let shown: Shown = lines
        .map(|(index, line)| match line.strip_prefix("hint: ") {
            Some(hint) => Shown::styled(&cyan, "hint").and(format!(": {hint}\n")),
            None if index == 0 => label.clone().and(format!(": {line}\n")),
            None => Shown::from(format!("  {line}\n")),
        })
        .collect();
    // If standard error has gone, there is no place to report it.
    let _ = io::stderr().write_all(shown.as_str().as_bytes());
}

/// The error and its causes, one a line, the hints at the end. Causes that the error spells out are not repeated.
fn text_of(error: &anyhow::Error) -> String {
    let (mut lines, mut hints) = (Vec::new(), Vec::new());
    let mut said = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        if said.contains(&text) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if line.starts_with("hint: ") {
                hints.push(line.to_owned());
            } else if depth > 0 && index == 0 {
                lines.push(format!("cause: {line}"));
            } else {
                lines.push(line.to_owned());
            }
        }
        said.push_str(&text);
    }
    lines.extend(hints);
    lines.join("\n")
}

/// Whether the input is at fault rather than the run.
fn is_input(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        if let Some(error) = cause.downcast_ref::<TrainError>() {
            match error {
                TrainError::Model(error) => is_model_input(error),
                TrainError::Data(DataError::Write { .. }) => false,
                other => other.is_input(),
            }
        } else if let Some(error) = cause.downcast_ref::<ModelError>() {
            is_model_input(error)
        } else if let Some(error) = cause.downcast_ref::<HubError>() {
            error.is_input()
        } else {
            let is_data = (cause.downcast_ref::<DataError>())
                .is_some_and(|error| !matches!(error, DataError::Write { .. }));
            is_data || cause.is::<UsageError>()
        }
    })
}

/// A model that cannot be read is input; one that cannot be written is a failure.
fn is_model_input(error: &ModelError) -> bool {
    !matches!(error, ModelError::Io { action, .. } if !matches!(*action, "read" | "open" | "map"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn hints_come_last_and_causes_are_named_once() {
        let error = io::Error::other("the disk is full");
        let usage = UsageError::new("the data is wrong: the disk is full", "buy a disk");
        assert_eq!(
            text_of(&anyhow::Error::from(error).context(usage)),
            "the data is wrong: the disk is full\nhint: buy a disk"
        );
        let error = Err::<(), _>(UsageError::new("inner", "do this")).context("outer");
        assert_eq!(text_of(&error.unwrap_err()), "outer\ncause: inner\nhint: do this");
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
        assert!(is_input(&io("open")) && !is_input(&io("write")));
        assert!(is_input(&anyhow::Error::from(UsageError::new("a", "b"))));
        assert!(!is_input(&anyhow::Error::from(io::Error::other("no"))));
    }
}
