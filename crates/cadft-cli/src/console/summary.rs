//! The summary at the end of a run: measures before and after, and the model's directory.

use super::{count, counted, note, percent};
use crate::shown::Shown;
use cadft_files::shown;
use cadft_train::Summary;
use console::Style;
use indicatif::HumanDuration;
use std::path::Path;
use std::time::Duration;

/// Prints the summary of a run; `before` is the number of steps that earlier processes did.
pub(crate) fn show(summary: &Summary, run: &Path, before: usize) {
    let bold = Style::new().for_stderr().bold();
    let rows = rows(summary);
    if !rows.is_empty() {
        let heading = |text: &str| Shown::styled(&bold, &format!("{text:>12}"));
        note(
            Shown::from(format!("\n{:<16}", ""))
                .and(heading("before"))
                .and(heading("after")),
        );
        for (name, [before, after]) in rows {
            note(format!("{name:<16}{before:>12}{after:>12}"));
        }
    }
    let elapsed = HumanDuration(Duration::from_secs_f64(summary.elapsed_secs.max(0.0)));
    let steps = counted(summary.steps.saturating_sub(before), "step");
    let after = if before > 0 {
        format!(" after the {} before", count(before))
    } else {
        String::new()
    };
    let ended = if summary.interrupted {
        ", then interrupted"
    } else {
        ""
    };
    note(
        Shown::from(format!("\n{steps}{after} in {elapsed:#}{ended}\nmodel  "))
            .and(Shown::styled(&bold, &shown(&summary.model).to_string()))
            .and(format!("\nrun    {}", shown(run))),
    );
}

/// The measures before and after training.
fn rows(summary: &Summary) -> Vec<(String, [String; 2])> {
    let mut rows: Vec<(String, [String; 2])> = vec![];
    if let Some(evaluation) = &summary.evaluation {
        rows.push((
            "nll".to_owned(),
            evaluation.each_ref().map(|e| format!("{:.4}", e.nll)),
        ));
        rows.push((
            "perplexity".to_owned(),
            evaluation.each_ref().map(|e| format!("{:.4}", e.perplexity)),
        ));
        rows.push((
            "token accuracy".to_owned(),
            evaluation.each_ref().map(|e| percent(e.token_accuracy)),
        ));
    }
    if let Some(answers) = &summary.answers {
        rows.push((
            "right answers".to_owned(),
            answers
                .each_ref()
                .map(|a| format!("{} of {}", a.correct, a.questions * a.samples)),
        ));
        for k in answers[0].pass_at.keys().filter(|&&k| k > 1) {
            let pass = answers
                .each_ref()
                .map(|a| a.pass_at.get(k).copied().unwrap_or_default());
            rows.push((format!("pass@{k}"), pass.map(percent)));
        }
    }
    rows
}
