//! The tables of the study as the book has them, from what `cadft compare` wrote.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::rewrites::Rewrites;

/// `compare.json`, with the keys that are used here.
#[derive(Deserialize)]
pub(super) struct Compared {
    before: Before,
    runs: Vec<Run>,
    objectives: Vec<Cell>,
    pub(super) differences: Vec<Difference>,
    /// Added by [`rewrites`](super::rewrites).
    #[serde(default)]
    rewrites: Vec<Rewrites>,
}

impl Compared {
    /// Reads what `cadft compare` wrote. In the names of measures, an evaluation source is called by its file alone.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut compared: Self = serde_json::from_str(text).context("not what `cadft compare` writes")?;
        let sources = std::mem::take(&mut compared.before.sources).into_iter();
        compared.before.sources = sources.map(|(path, of)| (file(&path).to_owned(), of)).collect();
        for run in &mut compared.runs {
            run.measures = by_file(std::mem::take(&mut run.measures));
        }
        for difference in &mut compared.differences {
            difference.measures = by_file(std::mem::take(&mut difference.measures));
        }
        Ok(compared)
    }
}

/// `nll of some/directory/eval.jsonl` becomes `nll of eval.jsonl`.
fn by_file<T>(measures: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let renamed = measures.into_iter().map(|(name, value)| {
        let short = name
            .split_once(" of ")
            .map(|(measure, path)| format!("{measure} of {}", file(path)));
        (short.unwrap_or(name), value)
    });
    renamed.collect()
}

fn file(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[derive(Deserialize)]
pub(super) struct Cell {
    pub(super) objective: String,
    pub(super) settings: Option<String>,
    pub(super) data: Option<String>,
}

/// The model before training, over the seeds of sampled answers.
#[derive(Deserialize)]
struct Before {
    #[serde(default)]
    sources: BTreeMap<String, BTreeMap<String, Option<Mean>>>,
    answer_entropy: Option<Mean>,
}

#[derive(Deserialize)]
struct Mean {
    mean: f64,
}

impl Before {
    /// A measure of [`COLUMNS`].
    fn measure(&self, name: &str) -> Option<f64> {
        let found = match name.split_once(" of ") {
            Some((measure, path)) => self.sources.get(path)?.get(measure)?.as_ref(),
            None if name == "answer_entropy" => self.answer_entropy.as_ref(),
            None => None,
        };
        found.map(|found| found.mean)
    }
}

#[derive(Deserialize)]
struct Run {
    #[serde(flatten)]
    cell: Cell,
    measures: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
pub(super) struct Difference {
    #[serde(flatten)]
    pub(super) cell: Cell,
    /// The objective that it is the difference from.
    pub(super) from: String,
    pub(super) measures: BTreeMap<String, Estimate>,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    pub(super) interval: Option<[f64; 2]>,
    detectable: Option<f64>,
}

/// A column: its title, the measure, the number by which it is multiplied, and its digits.
type Column = (&'static str, &'static str, f64, usize);

const COLUMNS: [Column; 8] = [
    ("right, trained tasks", "answers of eval.jsonl", 100.0, 1),
    ("pass@8", "pass of eval.jsonl", 100.0, 1),
    ("right, like them", "answers of shifted.jsonl", 100.0, 1),
    ("right, others", "answers of general.jsonl", 100.0, 1),
    ("NLL, trained tasks", "nll of eval.jsonl", 1.0, 3),
    ("NLL, others", "nll of general.jsonl", 1.0, 3),
    ("entropy of answers", "answer_entropy", 1.0, 3),
    ("AUC of noise", "noise_auc", 1.0, 3),
];

impl Cell {
    /// The names of what distinguishes it.
    pub(super) fn parts(&self) -> Vec<&str> {
        let parts = [Some(&self.objective), self.settings.as_ref(), self.data.as_ref()];
        parts.into_iter().flatten().map(String::as_str).collect()
    }

    fn name(&self) -> String {
        let parts = self.parts();
        let quoted: Vec<String> = parts.iter().map(|part| format!("`{part}`")).collect();
        quoted.join(", ")
    }

    fn is(&self, other: &Self) -> bool {
        (&self.objective, &self.settings, &self.data) == (&other.objective, &other.settings, &other.data)
    }
}

/// Means over the seeds, and below those of another objective than the first its difference over pairs of runs with the same seed:
/// the 95 % interval, and what the pairs would have shown.
pub(super) fn of(compared: &str) -> Result<String> {
    let compared = Compared::read(compared)?;
    let mut text = String::from("| |");
    COLUMNS
        .iter()
        .for_each(|(title, ..)| write!(text, " {title} |").unwrap_or_default());
    text += "\n|---|";
    text += &"--:|".repeat(COLUMNS.len());
    text += "\n| before training |";
    for (_, measure, factor, digits) in COLUMNS {
        let value = compared.before.measure(measure);
        write!(text, " {} |", shown(value.as_slice(), None, (factor, digits)))?;
    }
    text.push('\n');
    for cell in &compared.objectives {
        let own = compared.runs.iter().filter(|run| run.cell.is(cell));
        let own: Vec<&Run> = own.collect();
        let compared = compared.differences.iter().find(|other| other.cell.is(cell));
        write!(text, "| {} |", cell.name())?;
        for (_, measure, factor, digits) in COLUMNS {
            let values = own.iter().filter_map(|run| run.measures.get(measure));
            let values: Vec<f64> = values.copied().collect();
            let difference = compared.and_then(|compared| compared.measures.get(measure));
            write!(text, " {} |", shown(&values, difference, (factor, digits)))?;
        }
        text.push('\n');
    }
    if !compared.rewrites.is_empty() {
        text += &rewritten(&compared.rewrites)?;
    }
    Ok(text)
}

/// What rounds of rewriting did, a run on average.
fn rewritten(all: &[Rewrites]) -> Result<String> {
    let mut text = String::from(
        "\n| a run on average | answers written | put in | of these planted | right before | right now |\n",
    );
    text += "|---|--:|--:|--:|--:|--:|\n";
    for cell in all {
        let counts = [
            cell.drawn,
            cell.replaced,
            cell.planted,
            cell.right_before,
            cell.right_after,
        ];
        let name = cell.cell.replace('.', "`, `");
        write!(text, "| `{name}` |")?;
        for count in counts {
            write!(text, " {:.1} |", count as f64 / cell.runs as f64)?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// `mean`, and `(difference: low to high; detectable)` if there is one.
fn shown(values: &[f64], difference: Option<&Estimate>, (factor, digits): (f64, usize)) -> String {
    if values.is_empty() {
        return "–".to_owned();
    }
    let mean = factor * values.iter().sum::<f64>() / values.len() as f64;
    let mut text = format!("{mean:.digits$}");
    let Some(difference) = difference else {
        return text;
    };
    let Estimate {
        mean,
        interval: Some([low, high]),
        detectable: Some(detectable),
    } = *difference
    else {
        return text;
    };
    let [mean, low, high, detectable] = [mean, low, high, detectable].map(|value| value * factor);
    // A difference that its interval keeps off zero.
    let mark = if low > 0.0 || high < 0.0 { "**" } else { "" };
    text += &format!(
        "<br>{mark}{mean:+.digits$}{mark} [{low:+.digits$}, {high:+.digits$}] ({detectable:.digits$})"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_mean_of_its_runs_with_what_it_differs_from_the_first() {
        let measure = "nll of data/study/eval.jsonl";
        let text = format!(
            r#"{{"before": {{"sources": {{"data/study/eval.jsonl": {{"nll": {{"mean": 2.0}}}}}}}},
                "objectives": [{{"objective": "nll", "data": "clean"}}, {{"objective": "dft", "data": "clean"}}],
                "runs": [{{"objective": "nll", "data": "clean", "seed": 1, "measures": {{"{measure}": 0.5}}}},
                         {{"objective": "nll", "data": "clean", "seed": 2, "measures": {{"{measure}": 0.75}}}},
                         {{"objective": "dft", "data": "clean", "seed": 1, "measures": {{"{measure}": 0.25}}}}],
                "differences": [{{"objective": "dft", "data": "clean", "from": "nll", "measures": {{"{measure}":
                         {{"pairs": 1, "mean": -0.25, "interval": [-0.5, -0.125], "detectable": 0.375}}}}}}],
                "rewrites": [{{"cell": "nll.own.clean", "runs": 2, "drawn": 9, "replaced": 5, "planted": 4, "right_before": 1,
                         "right_after": 3}}]}}"#
        );
        let table = of(&text).unwrap();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| before training | – | – | – | – | 2.000 | – | – | – |",
                "| `nll`, `clean` | – | – | – | – | 0.625 | – | – | – |",
                "| `dft`, `clean` | – | – | – | – | 0.250<br>**-0.250** [-0.500, -0.125] (0.375) | – | – | – |",
                "",
                "| a run on average | answers written | put in | of these planted | right before | right now |",
                "|---|--:|--:|--:|--:|--:|",
                "| `nll`, `own`, `clean` | 4.5 | 2.5 | 2.0 | 0.5 | 1.5 |",
            ]
        );
    }

    #[test]
    fn a_difference_stands_below_the_mean_and_is_bold_if_it_is_one() {
        let difference = |low| Estimate {
            mean: 0.02,
            interval: Some([low, 0.03]),
            detectable: Some(0.015),
        };
        assert_eq!(
            shown(&[0.5, 0.6], Some(&difference(0.01)), (100.0, 1)),
            "55.0<br>**+2.0** [+1.0, +3.0] (1.5)"
        );
        assert_eq!(
            shown(&[0.5], Some(&difference(-0.01)), (1.0, 3)),
            "0.500<br>+0.020 [-0.010, +0.030] (0.015)"
        );
        assert_eq!(shown(&[], None, (1.0, 3)), "–");
    }
}
