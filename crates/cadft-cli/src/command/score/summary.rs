//! What an audit shows on standard error: a histogram, the extremes with their text, and a line for each source.

use crate::console::{count, note};
use cadft_core::Moments;
use cadft_core::compatibility::effective_sample_size;
use cadft_data::{Content, Message, Row};
use cadft_files::visible_name;
use comfy_table::{Table, presets};

/// Bars of the histogram.
const BARS: usize = 12;
/// Characters of the longest bar.
const WIDTH: usize = 40;
/// Characters of a text that are shown.
const SHOWN: usize = 160;

/// A sample and what was found.
#[derive(Clone, Copy)]
pub(super) struct Audited<'a> {
    pub(super) id: &'a str,
    pub(super) nll: f64,
    pub(super) z: f64,
    pub(super) weight: f64,
    /// Which of the files it is from.
    pub(super) source: usize,
    pub(super) row: &'a Row,
}

/// Shows the summary; `show` samples of each end.
pub(super) fn show(samples: &[Audited<'_>], files: &[String], show: usize) {
    let weights: Vec<f64> = samples.iter().map(|sample| sample.weight).collect();
    let scores: Vec<f64> = samples.iter().map(|sample| sample.nll).collect();
    note(&format!(
        "{} samples, effective sample size {:.1}\n{}",
        count(samples.len()),
        effective_sample_size(&weights),
        histogram(&scores)
    ));
    if files.len() > 1 {
        note(&sources(samples, files));
    }
    let mut order: Vec<&Audited<'_>> = samples.iter().collect();
    order.sort_by(|a, b| b.nll.total_cmp(&a.nll));
    let show = show.min(samples.len());
    let ends = [
        ("least compatible", &order[..show]),
        ("most compatible", &order[order.len() - show..]),
    ];
    for (name, samples) in ends.into_iter().filter(|(_, samples)| !samples.is_empty()) {
        note(&format!("\n{name}"));
        samples.iter().for_each(|sample| note(&described(sample)));
    }
}

/// Scores in bars of equal width, from the lowest to the highest.
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
fn sources(samples: &[Audited<'_>], files: &[String]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["source", "samples", "mean nll", "mean z", "mean weight"]);
    for (source, file) in files.iter().enumerate() {
        let own: Vec<_> = samples.iter().filter(|sample| sample.source == source).collect();
        let mean = |value: fn(&Audited<'_>) -> f64| {
            own.iter().map(|sample| value(sample)).collect::<Moments>().mean()
        };
        table.add_row([
            visible_name(file).into_owned(),
            count(own.len()),
            format!("{:.4}", mean(|sample| sample.nll)),
            format!("{:.3}", mean(|sample| sample.z)),
            format!("{:.3}", mean(|sample| sample.weight)),
        ]);
    }
    table.trim_fmt()
}

fn described(sample: &Audited<'_>) -> String {
    let (question, answer) = texts(sample.row);
    let Audited {
        id, nll, z, weight, ..
    } = sample;
    let question = question.map_or_else(String::new, |text| format!("\n    > {}", shortened(text)));
    format!(
        "  {}: nll {nll:.3}, z {z:.2}, weight {weight:.3}{question}\n    {}",
        visible_name(id),
        shortened(answer)
    )
}

/// What a row asks last, and what it answers.
fn texts(row: &Row) -> (Option<&str>, &str) {
    match &row.content {
        Content::Messages { messages, .. } => {
            let answer = messages.iter().rposition(Message::is_assistant).unwrap_or(0);
            let question = messages[..answer].last().map(Message::content);
            (question, messages.get(answer).map_or("", Message::content))
        }
        Content::PromptCompletion { prompt, completion } => (Some(prompt), completion),
        Content::Text(text) => (None, text),
    }
}

/// A text in one line, its beginning if it is long.
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
