//! The summary on standard error: a histogram, the extreme samples with their text, and a line for each source.

use super::extremes::{Extremes, Ranked};
use super::lines::Line;
use crate::console::{count, counted, note};
use crate::grid;
use crate::row_texts::question_and_answer;
use anyhow::Result;
use cadft_core::Moments;
use cadft_core::compatibility::effective_sample_size;
use cadft_data::{Mixing, Origin, Row, Source, rows};
use cadft_files::visible_name;
use comfy_table::{Table, presets};
use console::Term;
use std::collections::{HashMap, HashSet};

/// Number of bars in the histogram.
const BARS: usize = 12;
/// Length of the longest bar in characters.
const WIDTH: usize = 40;
/// Longest text that is shown, in characters.
const SHOWN: usize = 160;

/// The facts of a sample that are shown.
#[derive(Clone)]
struct Audited {
    id: String,
    z: f64,
    weight: f64,
    /// The index of its row among all rows.
    row: usize,
}

/// The samples of one source.
#[derive(Default)]
struct OfSource {
    samples: usize,
    nll: Moments,
    z: Moments,
    weight: Moments,
}

/// The summary, collected sample by sample.
pub(super) struct Summary {
    histogram: String,
    weights: Vec<f64>,
    sources: Vec<OfSource>,
    extremes: Extremes<Audited>,
}

impl Summary {
    /// A summary of samples with these scores; it shows the `show` most and the `show` least compatible.
    pub(super) fn new(scores: &[f64], show: usize) -> Self {
        Self {
            histogram: histogram(scores),
            weights: Vec::with_capacity(scores.len()),
            sources: vec![],
            extremes: Extremes::new(show),
        }
    }

    /// Adds the next sample.
    pub(super) fn push(&mut self, line: &Line<'_>, origin: &Origin) {
        let &Line { nll, z, weight, .. } = line;
        if self.sources.len() <= origin.source {
            self.sources.resize_with(origin.source + 1, OfSource::default);
        }
        let source = &mut self.sources[origin.source];
        source.samples += 1;
        source.nll.push(nll);
        source.z.push(z);
        source.weight.push(weight);
        self.extremes.push(Ranked {
            nll,
            number: self.weights.len(),
            sample: Audited {
                id: line.id.to_owned(),
                z,
                weight,
                row: origin.row,
            },
        });
        self.weights.push(weight);
    }

    /// Prints the summary. `files` are the sources as typed, `sources` as read: the texts are read again from them.
    pub(super) fn show(self, files: &[String], sources: &[Source]) -> Result<()> {
        note(format!(
            "{}, effective sample size {:.1}\n{}",
            counted(self.weights.len(), "sample"),
            effective_sample_size(&self.weights),
            self.histogram
        ));
        if files.len() > 1 {
            note(grid::grid(
                &table(&self.sources, files),
                grid::columns(&Term::stderr()),
            ));
        }
        let ends = self.extremes.into_sorted();
        let wanted = ends.iter().flatten().map(|ranked| ranked.sample.row).collect();
        let rows = rows_at(sources, &wanted)?;
        for (name, samples) in ["least compatible", "most compatible"].into_iter().zip(&ends) {
            if !samples.is_empty() {
                note(format!("\n{name}"));
            }
            for ranked in samples {
                note(described(ranked, rows.get(&ranked.sample.row)));
            }
        }
        Ok(())
    }
}

/// The rows at these positions among all rows.
fn rows_at(sources: &[Source], wanted: &HashSet<usize>) -> Result<HashMap<usize, Row>> {
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    for (number, row) in rows(sources, &Mixing::default())?.enumerate() {
        // Rows with errors were reported before.
        if let (true, Ok(row)) = (wanted.contains(&number), row) {
            found.insert(number, row);
        }
        if found.len() == wanted.len() {
            break;
        }
    }
    Ok(found)
}

/// A histogram of the scores: bars of equal width, from the lowest score to the highest.
fn histogram(scores: &[f64]) -> String {
    let (low, high) = (scores.iter().copied())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), score| {
            (low.min(score), high.max(score))
        });
    let width = ((high - low) / BARS as f64).max(f64::MIN_POSITIVE);
    let mut counts = [0; BARS];
    for score in scores {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the number of bars"
        )]
        let bar = ((score - low) / width) as usize;
        counts[bar.min(BARS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let lines = counts.iter().enumerate().map(|(bar, &samples)| {
        let from = low + width * bar as f64;
        let length = (samples * WIDTH).div_ceil(most);
        format!("  nll {from:8.3} {:<WIDTH$} {samples}", "█".repeat(length))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// One line for each file.
fn table(sources: &[OfSource], files: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["source", "samples", "mean nll", "mean z", "mean weight"]);
    let none = OfSource::default();
    for (source, file) in files.iter().enumerate() {
        let source = sources.get(source).unwrap_or(&none);
        table.add_row([
            visible_name(file).into_owned(),
            count(source.samples),
            format!("{:.4}", source.nll.mean()),
            format!("{:.3}", source.z.mean()),
            format!("{:.3}", source.weight.mean()),
        ]);
    }
    table
}

fn described(ranked: &Ranked<Audited>, row: Option<&Row>) -> String {
    let (question, answer) = row.map_or((None, ""), question_and_answer);
    let Audited { id, z, weight, .. } = &ranked.sample;
    let question = question.map_or_else(String::new, |text| format!("\n    > {}", shortened(text)));
    format!(
        "  {}: nll {:.3}, z {z:.2}, weight {weight:.3}{question}\n    {}",
        visible_name(id),
        ranked.nll,
        shortened(answer)
    )
}

/// The text in one line; only its beginning if it is long.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_is_in_one_bar() {
        for scores in [vec![1.0; 5], vec![0.0, 1.0, 2.0, 12.0], vec![3.0]] {
            let text = histogram(&scores);
            let counted: usize = text
                .lines()
                .filter_map(|line| line.split_whitespace().last()?.parse::<usize>().ok())
                .sum();
            assert_eq!((counted, text.lines().count()), (scores.len(), BARS), "{text}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = shortened(&"ä ".repeat(400));
        assert_eq!(text.chars().count(), SHOWN + 2, "{text}");
    }
}
