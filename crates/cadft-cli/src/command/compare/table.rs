//! The table: mean and standard error of each measure over the seeds, and paired differences from the first objective.

use super::matrix::Cell;
use super::measures::{self, Measure, of_runs, of_source};
use super::outcome::Outcome;
use super::statistics::{Difference, Estimate, RESAMPLES};
use cadft_train::Environment;
use comfy_table::{CellAlignment, presets};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What made a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct Made {
    command: Vec<String>,
    cadft: &'static str,
    /// The commit of the directory that it was started in, and whether files differ from it.
    revision: Option<String>,
    dirty: Option<bool>,
    device: String,
    processor: Option<String>,
    cpus: usize,
}

impl Made {
    pub(super) fn by(environment: &Environment) -> Self {
        let git = environment.git.as_ref();
        Self {
            command: named(&environment.command),
            cadft: environment.cadft,
            revision: git.map(|git| git.revision.clone()),
            dirty: git.map(|git| git.dirty),
            device: environment.device.clone(),
            processor: environment.processor.clone(),
            cpus: environment.cpus,
        }
    }
}

/// A command by the name of its program, wherever that lies.
fn named(command: &[String]) -> Vec<String> {
    let mut command = command.to_vec();
    if let Some(program) = command.first_mut()
        && let Some(name) = Path::new(program).file_name()
    {
        *program = name.to_string_lossy().into_owned();
    }
    command
}

/// What came out, one row a cell.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(in crate::command) struct Table {
    made: Made,
    /// Before training: the mean over all runs, which differ at that point only if the model has random weights.
    before: Row,
    /// One row an objective.
    objectives: Vec<Row>,
    /// What the rows are means of.
    runs: Vec<Run>,
    /// Of each cell from the one with the first objective, the same settings and the same data, over runs with the same seed.
    differences: Vec<Compared>,
    /// How often pairs were drawn for the intervals.
    resamples: usize,
    /// The evaluation sources, if there are several.
    #[serde(skip)]
    paths: Vec<String>,
}

/// The measures of one cell.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
struct Row {
    #[serde(flatten)]
    cell: Cell,
    /// Runs that finished.
    runs: usize,
    /// Runs that diverged: a loss or gradient became NaN or infinite.
    diverged: usize,
    /// Negative log-likelihood of the evaluation data.
    nll: Option<Estimate>,
    /// Share of tokens that the model ranks first.
    token_accuracy: Option<Estimate>,
    /// Share of right answers; absent if `evaluate.answers` is 0.
    answers: Option<Estimate>,
    /// pass@k; absent where each question has one answer.
    pass: Option<Estimate>,
    /// Entropy of the final answers to a question, nats; absent where each question has one answer.
    answer_entropy: Option<Estimate>,
    /// Of planted noise, in the last quarter of the run.
    noise_auc: Option<Estimate>,
    noise_recall: Option<Estimate>,
    /// Where there are several evaluation sources, the measures of each by its path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sources: BTreeMap<String, OfSource>,
    /// All of these, in the order of [`measures::all`].
    #[serde(skip)]
    all: Vec<Option<Estimate>>,
}

/// The measures on one evaluation source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
struct OfSource {
    nll: Option<Estimate>,
    answers: Option<Estimate>,
    pass: Option<Estimate>,
}

/// The measures of one run, after training.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Run {
    #[serde(flatten)]
    cell: Cell,
    seed: u64,
    /// By name, as in the differences; none of a run that diverged.
    measures: BTreeMap<String, f64>,
}

/// The measures of one cell less those of another.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Compared {
    #[serde(flatten)]
    cell: Cell,
    /// The objective that it is compared with.
    from: String,
    /// By the name of a measure, with ` of PATH` for that of an evaluation source.
    measures: BTreeMap<String, Difference>,
}

impl Row {
    /// `moment` is 0 for the values before training, 1 for those after.
    fn new(cell: Cell, outcomes: &[&Outcome], paths: &[String], moment: usize) -> Self {
        let estimate = |measure: Measure| {
            let values = outcomes.iter().filter_map(|o| (measure.value)(o)[moment]);
            Estimate::of(&values.collect::<Vec<f64>>())
        };
        let diverged = outcomes.iter().filter(|outcome| outcome.nll.is_none()).count();
        let own = of_runs().map(estimate);
        let mut all = own.to_vec();
        let sources = paths.iter().enumerate().map(|(index, path)| {
            let own @ [nll, answers, pass] = of_source(index, path).map(estimate);
            all.extend(own);
            (path.clone(), OfSource { nll, answers, pass })
        });
        let sources = sources.collect();
        let [
            nll,
            token_accuracy,
            answers,
            pass,
            answer_entropy,
            noise_auc,
            noise_recall,
        ] = own;
        Self {
            cell,
            runs: outcomes.len() - diverged,
            diverged,
            nll,
            token_accuracy,
            answers,
            pass,
            answer_entropy,
            noise_auc,
            noise_recall,
            sources,
            all,
        }
    }

    fn runs(&self) -> String {
        if self.diverged == 0 {
            self.runs.to_string()
        } else {
            format!("{}, {} diverged", self.runs, self.diverged)
        }
    }
}

impl Run {
    fn new(cell: &Cell, outcome: &Outcome, paths: &[String]) -> Self {
        let measures = measures::all(paths).into_iter();
        let measures = measures.filter_map(|measure| Some(((measure.value)(outcome)[1]?, measure.name)));
        Self {
            cell: cell.clone(),
            seed: outcome.seed,
            measures: measures.map(|(value, name)| (name, value)).collect(),
        }
    }
}

impl Compared {
    /// The outcomes of `cell` less those of `from`, seed by seed; nothing without a pair.
    fn new([cell, from]: [(&Cell, &[&Outcome]); 2], paths: &[String]) -> Option<Self> {
        let mut measures = BTreeMap::new();
        for Measure { name, value, .. } in measures::all(paths) {
            let pairs = cell.1.iter().filter_map(|outcome| {
                let other = from.1.iter().find(|other| other.seed == outcome.seed)?;
                Some(value(outcome)[1]? - value(other)[1]?)
            });
            let difference = Difference::of(&pairs.collect::<Vec<f64>>());
            measures.extend(difference.map(|difference| (name, difference)));
        }
        (!measures.is_empty()).then(|| Self {
            cell: cell.0.clone(),
            from: from.0.objective.clone(),
            measures,
        })
    }
}

impl Table {
    /// The table of these outcomes, in the order of the cells.
    pub(super) fn new(cells: &[Cell], outcomes: &[Outcome], made: Made) -> Self {
        let of = |cell: usize| -> Vec<&Outcome> { outcomes.iter().filter(|o| o.cell == cell).collect() };
        let own: Vec<Vec<&Outcome>> = (0..cells.len()).map(of).collect();
        let before = Cell {
            objective: "before training".to_owned(),
            ..Cell::default()
        };
        let first = cells.first().map(|cell| &cell.objective);
        let paths = measures::sources(outcomes);
        let differences = (cells.iter().zip(&own))
            .filter(|(cell, _)| Some(&cell.objective) != first)
            .filter_map(|(cell, outcomes)| {
                let is_first = |other: &Cell| Some(&other.objective) == first && other.is_beside(cell);
                let from = cells.iter().position(is_first)?;
                Compared::new([(cell, outcomes), (&cells[from], &own[from])], &paths)
            })
            .collect();
        Self {
            made,
            before: Row::new(before, &outcomes.iter().collect::<Vec<_>>(), &paths, 0),
            objectives: (cells.iter().zip(&own))
                .map(|(cell, outcomes)| Row::new(cell.clone(), outcomes, &paths, 1))
                .collect(),
            runs: outcomes
                .iter()
                .map(|outcome| Run::new(&cells[outcome.cell], outcome, &paths))
                .collect(),
            differences,
            resamples: RESAMPLES,
            paths,
        }
    }

    /// Which measures are columns, each with its place among the estimates of a row.
    fn columns(&self) -> Vec<(usize, Measure)> {
        let measures = measures::all(&self.paths).into_iter().enumerate();
        measures
            .filter(|(place, measure)| {
                measure.is_always || self.objectives.iter().any(|row| row.all[*place].is_some())
            })
            .collect()
    }

    /// Titles and values of the parts of a cell.
    fn names(&self) -> (Vec<String>, impl Fn(&Cell) -> Vec<String>) {
        let has_settings = self.objectives.iter().any(|row| row.cell.settings.is_some());
        let has_data = self.objectives.iter().any(|row| row.cell.data.is_some());
        let mut titles = vec!["objective".to_owned()];
        titles.extend(has_settings.then(|| "settings".to_owned()));
        titles.extend(has_data.then(|| "data".to_owned()));
        let values = move |cell: &Cell| {
            let mut values = vec![cell.objective.clone()];
            values.extend(has_settings.then(|| cell.settings.clone().unwrap_or_default()));
            values.extend(has_data.then(|| cell.data.clone().unwrap_or_default()));
            values
        };
        (titles, values)
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let columns = self.columns();
        let (mut header, names) = self.names();
        header.push("runs".to_owned());
        header.extend(columns.iter().map(|(_, measure)| measure.title.clone()));
        let cells = |row: &Row, runs: String| {
            let mut cells = names(&row.cell);
            cells.push(runs);
            cells.extend(columns.iter().map(|(place, measure)| {
                row.all[*place].map_or_else(|| "–".to_owned(), |estimate| estimate.text(measure.show))
            }));
            cells
        };
        let mut rows = vec![header, cells(&self.before, String::new())];
        rows.extend(self.objectives.iter().map(|row| cells(row, row.runs())));
        rows
    }

    /// The differences as rows; none without a second objective.
    fn difference_rows(&self) -> Vec<Vec<String>> {
        let Some(first) = self.differences.first() else {
            return vec![];
        };
        let columns = self.columns();
        let (mut header, names) = self.names();
        header[0] = format!("from {}", first.from);
        header.extend(columns.iter().map(|(_, measure)| measure.title.clone()));
        let mut rows = vec![header];
        for compared in &self.differences {
            let mut cells = names(&compared.cell);
            cells.extend(columns.iter().map(|(_, measure)| {
                let difference = compared.measures.get(&measure.name);
                difference.map_or_else(|| "–".to_owned(), |difference| shown(difference, measure.show))
            }));
            rows.push(cells);
        }
        rows
    }

    /// The table for a terminal, and that of the differences if there are any.
    pub(super) fn terminal(&self) -> Vec<comfy_table::Table> {
        let tables = [self.rows(), self.difference_rows()];
        tables
            .into_iter()
            .filter(|rows| !rows.is_empty())
            .map(aligned)
            .collect()
    }

    /// The table as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = markdown(&self.rows()) + "\nMean ± standard error over the runs.\n";
        let differences = self.difference_rows();
        if !differences.is_empty() {
            text += "\n";
            text += &markdown(&differences);
            text += "\nDifference over pairs of runs with the same seed, its 95 % interval by bootstrap, and the difference that as \
                     many pairs would have shown with a probability of 80 %.\n";
        }
        text
    }
}

/// `+0.0123 [-0.0010, 0.0200] (0.0150)`: mean, interval and what would have been shown.
fn shown(difference: &Difference, show: fn(f64) -> String) -> String {
    let signed = |value: f64| format!("{}{}", if value < 0.0 { "" } else { "+" }, show(value));
    let mut text = signed(difference.mean);
    if let (Some([low, high]), Some(detectable)) = (difference.interval, difference.detectable) {
        text += &format!(" [{}, {}] ({})", signed(low), signed(high), show(detectable));
    }
    text
}

fn aligned(rows: Vec<Vec<String>>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    let mut rows = rows.into_iter();
    if let Some(header) = rows.next() {
        table.set_header(header);
    }
    table.add_rows(rows);
    for index in 1..table.column_count() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn markdown(rows: &[Vec<String>]) -> String {
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| format!("| {} |\n", row.join(" | ")))
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    lines.insert(1, format!("|---|{}\n", "--:|".repeat(columns.saturating_sub(1))));
    lines.concat()
}

#[cfg(test)]
mod tests;
