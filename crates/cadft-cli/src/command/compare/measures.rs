//! What is measured of a run: the columns of the table.

use super::outcome::{OfSource, Outcome};
use crate::console::percent;
use std::path::Path;

/// A measure of a run before training and after.
type Value = dyn Fn(&Outcome) -> [Option<f64>; 2];

/// What is compared.
pub(super) struct Measure {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) show: fn(f64) -> String,
    pub(super) value: Box<Value>,
    /// Whether it is a column even where no run has it.
    pub(super) is_always: bool,
}

/// The measures of a whole run. A row of the table has a member for each.
pub(super) fn of_runs() -> [Measure; 7] {
    fn measure(
        name: &str,
        title: &str,
        show: fn(f64) -> String,
        value: fn(&Outcome) -> [Option<f64>; 2],
    ) -> Measure {
        Measure {
            name: name.to_owned(),
            title: title.to_owned(),
            show,
            value: Box::new(value),
            is_always: false,
        }
    }
    let mut all = [
        measure("nll", "eval NLL", four_digits, |o| split(o.nll)),
        measure("token_accuracy", "token accuracy", percent, |o| {
            split(o.token_accuracy)
        }),
        measure("answers", "right answers", percent, |o| split(o.answers)),
        measure("pass", "pass@k", percent, |o| split(o.pass)),
        measure("answer_entropy", "entropy of answers", three_digits, |o| {
            split(o.answer_entropy)
        }),
        measure("noise_auc", "noise AUC", three_digits, |o| [None, o.noise_auc]),
        measure("noise_recall", "noise recall", three_digits, |o| {
            [None, o.noise_recall]
        }),
    ];
    all[0].is_always = true;
    all[1].is_always = true;
    all
}

/// The measures of evaluation source `index`. A row of the table has these for each source.
pub(super) fn of_source(index: usize, path: &str) -> [Measure; 3] {
    type OfOne = fn(&OfSource) -> Option<[f64; 2]>;
    let file = Path::new(path).file_name();
    let file = file.map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned());
    let measure = |name: &str, title: &str, show: fn(f64) -> String, value: OfOne| Measure {
        name: format!("{name} of {path}"),
        title: format!("{title}, {file}"),
        show,
        value: Box::new(move |o| split(o.sources.get(index).and_then(value))),
        is_always: false,
    };
    [
        measure("nll", "NLL", four_digits, |own| own.nll),
        measure("answers", "right", percent, |own| own.answers),
        measure("pass", "pass@k", percent, |own| own.pass),
    ]
}

/// The evaluation sources of the first outcome that has any: all runs have the same.
pub(super) fn sources(outcomes: &[Outcome]) -> Vec<String> {
    let with_any = outcomes.iter().find(|outcome| !outcome.sources.is_empty());
    with_any.map_or_else(Vec::new, |outcome| {
        outcome.sources.iter().map(|own| own.path.clone()).collect()
    })
}

fn split(pair: Option<[f64; 2]>) -> [Option<f64>; 2] {
    pair.map_or([None; 2], |pair| pair.map(Some))
}

fn four_digits(value: f64) -> String {
    format!("{value:.4}")
}

fn three_digits(value: f64) -> String {
    format!("{value:.3}")
}

/// All measures, those of whole runs first.
pub(super) fn all(paths: &[String]) -> Vec<Measure> {
    let own = paths
        .iter()
        .enumerate()
        .flat_map(|(index, path)| of_source(index, path));
    of_runs().into_iter().chain(own).collect()
}
