//! What a run shows on standard error: a bar on a terminal, a few plain lines elsewhere.

mod progress;
mod summary;

use crate::shown::Shown;
use crate::{hint, output};
use anyhow::{Context, Result};
use cadft_files::visible_name;
use cadft_train::rewrite::RoundSummary;
use cadft_train::{Event, Plan, Prepared, Warning};
use console::Style;
use progress::Progress;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shows the events of a run.
pub(crate) struct Console {
    progress: Progress,
    run: PathBuf,
    /// Whether events also go to standard output as JSON.
    json: bool,
    /// Why events no longer go there.
    lost: Option<anyhow::Error>,
    stop: Arc<AtomicBool>,
    /// Whether the user knows that the run is about to stop.
    told_stop: bool,
}

impl Console {
    /// A console for a run in the directory `run`.
    pub(crate) fn new(prepared: &Prepared, run: &Path, json: bool, stop: Arc<AtomicBool>) -> Self {
        Self {
            progress: Progress::new(prepared.plan.steps),
            run: run.to_owned(),
            json,
            lost: None,
            stop,
            told_stop: false,
        }
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event) {
        self.print(event);
        match event {
            Event::Started { plan } => note(started(plan)),
            Event::Step(metrics) => {
                self.progress.step(metrics);
                self.tell_stop();
            }
            Event::Warned { warning, .. } => self.progress.suspend(|| hint::warn(warning)),
            Event::Evaluated { step, evaluation } => self.progress.suspend(|| {
                note(format!(
                    "{}: nll {:.4}, perplexity {:.4}, token accuracy {}",
                    moment(*step),
                    evaluation.nll,
                    evaluation.perplexity,
                    percent(evaluation.token_accuracy)
                ));
            }),
            Event::Answered { step, answers } => self.progress.suspend(|| {
                note(format!(
                    "{}: {} of {} answers right",
                    moment(*step),
                    answers.correct,
                    answers.questions * answers.samples
                ));
            }),
            Event::Rewrote { step, round } => self.progress.suspend(|| note(rewrote(*step, round))),
            Event::Resumed { step, path, changed } => self.progress.suspend(|| {
                note(format!(
                    "going on after step {step} from `{}`",
                    cadft_files::shown(&path)
                ));
                changed
                    .iter()
                    .for_each(|change| note(format!("  changed: {change}")));
            }),
            Event::Skipped {
                step, what, samples, ..
            } => self.progress.suspend(|| {
                hint::warn(&Warning {
                    message: format!("step {step}: the {what} is not finite; the step was skipped"),
                    hint: format!("look at these samples: {}", visible_name(&samples.join(", "))),
                });
            }),
            Event::Saved { step, path, .. } => self
                .progress
                .suspend(|| note(format!("step {step}: saved `{}`", cadft_files::shown(&path)))),
            Event::Finished(outcome) => {
                self.progress.finish();
                summary::show(outcome, &self.run);
            }
            _ => {}
        }
    }

    /// Prints an event as JSON. If that fails, the run continues; a reader that has gone wants no more.
    fn print(&mut self, event: &Event) {
        if !self.json {
            return;
        }
        let Err(error) = output::json_line(event) else {
            return;
        };
        self.json = false;
        if !hint::is_closed_pipe(&error) {
            self.progress.suspend(|| {
                hint::warn(&Warning {
                    message: format!("{error:#}"),
                    hint: "the run goes on; `metrics.jsonl` has its steps".to_owned(),
                });
            });
            self.lost = Some(error);
        }
    }

    /// Ends a run that did what it was asked.
    ///
    /// # Errors
    /// Events that could not be printed.
    pub(crate) fn finish(self) -> Result<()> {
        match self.lost {
            None => Ok(()),
            Some(error) => Err(error).context("the run has ended, but not all of its events were printed"),
        }
    }

    fn tell_stop(&mut self) {
        if self.stop.load(Ordering::Relaxed) && !self.told_stop {
            self.told_stop = true;
            self.progress.suspend(|| {
                note("interrupted: saving a checkpoint after this step; interrupt again to end at once");
            });
        }
    }
}

/// Writes a line to standard error.
pub(crate) fn note(text: impl Into<Shown>) {
    // If standard error has gone, there is no place to report it.
    let _ = io::stderr().write_all(text.into().and("\n").as_str().as_bytes());
}

/// A share, in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A number with a space between thousands.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn moment(step: usize) -> String {
    if step == 0 {
        "before training".to_owned()
    } else {
        format!("step {step}")
    }
}

fn rewrote(step: usize, round: &RoundSummary) -> String {
    let scores = match (round.old_score, round.new_score) {
        (Some(old), Some(new)) => format!(", mean score {old:.3} to {new:.3}"),
        _ => String::new(),
    };
    format!(
        "step {step}: {} of {} incompatible samples rewritten{scores}, {:.1} s",
        round.replaced, round.chosen, round.elapsed_secs
    )
}

fn started(plan: &Plan) -> Shown {
    let bold = Style::new().for_stderr().bold();
    let start = plan.start.map_or_else(String::new, |start| {
        format!("{start} for {} steps, then ", plan.start_steps)
    });
    Shown::from(start)
        .and(Shown::styled(&bold, &plan.objective))
        .and(format!(
            ": {} steps over {} samples with {} tokens, {} of them trained; {} parameters, about {:.0} MiB",
            count(plan.steps),
            count(plan.samples),
            count(plan.tokens),
            count(plan.supervised),
            count(plan.parameters),
            plan.memory_mib,
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(134_515_008), "134 515 008");
    }
}
