//! Warnings about rows that were cut, left out or not shown completely.

use super::Warning;
use crate::config::Recipe;
use cadft_data::{Report, Truncation};

/// Largest number of sample ids in a warning.
const NAMED: usize = 5;

/// The warnings about the rows of a run.
pub(super) fn warnings(recipe: &Recipe, train: &Report, eval: &Report) -> Vec<Warning> {
    let hint = match recipe.data.truncation {
        Truncation::LeftPrompt => "raise `data.max-length` where the beginning of a prompt matters",
        _ => {
            "raise `data.max-length`, or leave them out (`data.truncation = \"drop\"`): a cut answer teaches an \
             answer without its end"
        }
    };
    let of_eval = "raise `data.max-length`: what was cut off is not evaluated";
    let of_rows = [
        cut(train, "samples", hint),
        dropped(train, "samples", "have nothing left to train"),
        cut(eval, "evaluation samples", of_eval),
        dropped(eval, "evaluation samples", "have nothing left to evaluate"),
    ]
    .into_iter()
    .flatten();
    of_rows
        .chain(lost(train, ""))
        .chain(lost(eval, " of `data.eval`"))
        .collect()
}

/// The warnings about parts of rows that the chat template omits.
fn lost(report: &Report, of: &str) -> impl Iterator<Item = Warning> {
    report.lost.iter().map(move |(part, &lost)| {
        let (message, hint) = part.warning(lost, report.rows);
        Warning::new(message + of, hint)
    })
}

fn cut(report: &Report, what: &str, hint: &str) -> Option<Warning> {
    let message = format!(
        "{} of {} {what} were cut to `data.max-length`",
        report.truncated, report.rows
    );
    (report.truncated > 0).then(|| Warning::new(message, hint))
}

fn dropped(report: &Report, what: &str, why: &str) -> Option<Warning> {
    let dropped = &report.dropped;
    let ids: Vec<_> = (dropped.iter().take(NAMED))
        .map(|sample| sample.id.as_str())
        .collect();
    let more = if dropped.len() > NAMED { ", …" } else { "" };
    let message = format!(
        "{} of {} {what} {why} and were dropped ({}{more})",
        dropped.len(),
        report.rows,
        ids.join(", "),
    );
    (!dropped.is_empty()).then(|| Warning::new(message, "raise `data.max-length`, or change `data.mask`"))
}
