//! The table: mean and standard error of each measure over the seeds.

use super::outcome::Outcome;
use crate::console::percent;
use cadft_core::AnyObjective;
use comfy_table::{CellAlignment, presets};
use serde::Serialize;

/// The results, one row for each objective.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Table {
    /// Before training: the mean over all runs, which differ at that point only if the model has random weights.
    before: Row,
    objectives: Vec<Row>,
}

/// The measures of one objective.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Row {
    objective: String,
    /// Runs that finished.
    runs: usize,
    /// Runs that diverged: a loss or gradient became NaN or infinite.
    diverged: usize,
    nll: Option<Estimate>,
    token_accuracy: Option<Estimate>,
    /// Share of right answers; absent if `evaluate.answers` is 0.
    answers: Option<Estimate>,
}

/// A mean over runs, with its error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Estimate {
    mean: f64,
    /// Standard deviation of the sample, divided by √runs; absent for a single run.
    standard_error: Option<f64>,
}

impl Estimate {
    fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            standard_error: (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt()),
        })
    }

    fn text(self, show: impl Fn(f64) -> String) -> String {
        match self.standard_error {
            Some(error) => format!("{} ± {}", show(self.mean), show(error)),
            None => show(self.mean),
        }
    }
}

impl Row {
    /// `moment` is 0 for the values before training, 1 for those after.
    fn new(objective: &str, outcomes: &[&Outcome], moment: usize) -> Self {
        let estimate = |of: fn(&Outcome) -> Option<[f64; 2]>| {
            let values: Vec<f64> = outcomes.iter().filter_map(|o| Some(of(o)?[moment])).collect();
            Estimate::of(&values)
        };
        let diverged = outcomes.iter().filter(|outcome| outcome.nll.is_none()).count();
        Self {
            objective: objective.to_owned(),
            runs: outcomes.len() - diverged,
            diverged,
            nll: estimate(|o| o.nll),
            token_accuracy: estimate(|o| o.token_accuracy),
            answers: estimate(|o| o.answers),
        }
    }

    fn cells(&self, with_answers: bool) -> Vec<String> {
        let show = |estimate: Option<Estimate>, show: fn(f64) -> String| {
            estimate.map_or_else(|| "–".to_owned(), |estimate| estimate.text(show))
        };
        let runs = if self.diverged == 0 {
            self.runs.to_string()
        } else {
            format!("{}, {} diverged", self.runs, self.diverged)
        };
        let mut cells = vec![
            self.objective.clone(),
            runs,
            show(self.nll, |nll| format!("{nll:.4}")),
            show(self.token_accuracy, percent),
        ];
        if with_answers {
            cells.push(show(self.answers, percent));
        }
        cells
    }
}

impl Table {
    /// The table of these outcomes, in the order of the objectives.
    pub(super) fn new(objectives: &[AnyObjective], outcomes: &[Outcome]) -> Self {
        let all: Vec<&Outcome> = outcomes.iter().collect();
        Self {
            before: Row::new("before training", &all, 0),
            objectives: objectives
                .iter()
                .map(|objective| {
                    let name = objective.name();
                    let own: Vec<&Outcome> = outcomes.iter().filter(|o| o.objective == name).collect();
                    Row::new(name, &own, 1)
                })
                .collect(),
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let with_answers = self.objectives.iter().any(|row| row.answers.is_some());
        let mut header = vec!["objective", "runs", "eval NLL", "token accuracy"];
        if with_answers {
            header.push("right answers");
        }
        let mut before = self.before.cells(with_answers);
        before[1] = String::new();
        let mut rows = vec![header.into_iter().map(str::to_owned).collect(), before];
        rows.extend(self.objectives.iter().map(|row| row.cells(with_answers)));
        rows
    }

    /// The table as text for a terminal.
    pub(super) fn terminal(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        let mut rows = self.rows().into_iter();
        if let Some(header) = rows.next() {
            table.set_header(header);
        }
        table.add_rows(rows);
        for index in 1..table.column_count() {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    /// The table as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut lines: Vec<String> = self
            .rows()
            .iter()
            .map(|row| format!("| {} |\n", row.join(" | ")))
            .collect();
        let columns = self.rows().first().map_or(0, Vec::len);
        lines.insert(1, format!("|---|{}\n", "--:|".repeat(columns.saturating_sub(1))));
        lines.push("\nMean ± standard error over the runs.\n".to_owned());
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(objective: &str, nll: f64) -> Outcome {
        Outcome {
            objective: objective.to_owned(),
            nll: Some([2.0, nll]),
            token_accuracy: Some([0.25, 0.5]),
            answers: None,
        }
    }

    #[test]
    fn mean_and_standard_error_are_those_of_the_textbook() {
        // The standard deviation of 1, 2, 3 is 1; the standard error is 1/√3.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0]).expect("values");
        assert_eq!(estimate.mean, 2.0);
        assert!((estimate.standard_error.expect("three runs") - 1.0 / 3.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Estimate::of(&[5.0]).expect("a value").standard_error, None);
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn the_table_has_a_row_for_each_objective_and_counts_what_diverged() {
        let objectives = ["nll", "dft"].map(|name| AnyObjective::from_name(name).expect("a name"));
        let outcomes = [outcome("nll", 1.0), Outcome::diverged("dft"), outcome("nll", 1.5)];
        let table = Table::new(&objectives, &outcomes);
        assert_eq!(
            table.markdown(),
            "| objective | runs | eval NLL | token accuracy |\n|---|--:|--:|--:|\n\
             | before training |  | 2.0000 ± 0.0000 | 25.0 % ± 0.0 % |\n\
             | nll | 2 | 1.2500 ± 0.2500 | 50.0 % ± 0.0 % |\n| dft | 0, 1 diverged | – | – |\n\n\
             Mean ± standard error over the runs.\n"
        );
        assert!(table.terminal().lines().count() >= 4);
    }
}
