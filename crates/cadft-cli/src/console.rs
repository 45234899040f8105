//! What a run shows on standard error: a bar on a terminal, a few plain lines elsewhere.

mod activity;
pub(crate) mod next;
mod progress;
mod summary;

use crate::shown::Shown;
use crate::{hint, output};
pub(crate) use activity::Activity;
use anyhow::{Context, Result};
use cadft_files::visible_name;
use cadft_model::BaseFormat;
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
    /// Whether events are also printed to standard output as JSON.
    json: bool,
    /// The error that ended the printing of events.
    lost: Option<anyhow::Error>,
    stop: Arc<AtomicBool>,
    /// Whether the user was notified that the run is about to stop.
    told_stop: bool,
    /// What is done between steps, if no bar shows it.
    doing_now: Option<Activity>,
    /// Number of steps done before this process.
    done_before: usize,
    /// Whether the run trains an adapter.
    /// The format of the base of an adapter.
    adapter: Option<BaseFormat>,
    /// Whether to suggest commands to continue with.
    advises: bool,
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
            doing_now: None,
            done_before: 0,
            adapter: prepared.recipe.adapter.as_ref().map(|adapter| adapter.base),
            advises: true,
        }
    }

    /// Without suggested commands, for a run that is part of a comparison.
    pub(crate) fn without_advice(mut self) -> Self {
        self.advises = false;
        self
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event) {
        self.print(event);
        match event {
            Event::Evaluating { done, total, .. } => {
                let said = || format!("evaluating {} of {}", count(*done), counted(*total, "sample"));
                self.evaluating(*done, *total, said);
            }
            Event::Answering { tokens, .. } => {
                self.evaluating(*tokens, 0, || {
                    format!("answering: {} so far", counted(*tokens, "token"))
                });
            }
            Event::Saving { .. } => self.doing("saving"),
            Event::Rewriting { .. } => self.doing("rewriting"),
            _ => self.doing_now = None,
        }
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
                    "{}: {} of {} right",
                    moment(*step),
                    answers.correct,
                    counted(answers.questions * answers.samples, "answer")
                ));
            }),
            Event::Rewrote { step, round } => self.progress.suspend(|| note(rewrote(*step, round))),
            Event::Resumed { step, path, changed } => {
                self.done_before = *step;
                self.progress.suspend(|| {
                    note(format!(
                        "going on after step {step} from `{}`",
                        cadft_files::shown(&path)
                    ));
                    changed
                        .iter()
                        .for_each(|change| note(format!("  changed: {change}")));
                });
            }
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
                let before = self.done_before;
                summary::show(outcome, &self.run, before);
                match (self.advises, outcome.interrupted) {
                    (false, _) => {}
                    (true, true) => next::interrupted(&self.run),
                    (true, false) => next::trained(&self.run, self.adapter),
                }
            }
            _ => {}
        }
    }

    /// Prints an event as JSON. If that fails, the run continues. A closed pipe is not an error.
    fn print(&mut self, event: &Event) {
        let is_recorded = !matches!(
            event,
            Event::Evaluating { .. }
                | Event::Answering { .. }
                | Event::Rewriting { .. }
                | Event::Saving { .. }
        );
        if !self.json || !is_recorded {
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

    /// Ends the console of a successful run.
    ///
    /// # Errors
    /// If events could not be printed.
    pub(crate) fn finish(self) -> Result<()> {
        match self.lost {
            None => Ok(()),
            Some(error) => Err(error).context("the run has ended, but not all of its events were printed"),
        }
    }

    /// Shows the progress of an evaluation.
    fn evaluating(&mut self, done: usize, total: usize, said: impl FnOnce() -> String) {
        if !self.progress.says(said) {
            let evaluation = self.doing_now.get_or_insert_with(|| {
                let what = if total == 0 { "answering" } else { "evaluating" };
                Activity::of(what, total)
            });
            evaluation.at(done);
        }
        if self.stop.load(Ordering::Relaxed) {
            self.doing_now = None;
            self.tell("interrupted: saving a checkpoint; the evaluation takes place when the run continues");
        }
    }

    /// Shows what is done between steps.
    fn doing(&mut self, what: &str) {
        self.doing_now = None;
        if !self.progress.says(|| what.to_owned()) {
            self.doing_now = Some(Activity::begin(what));
        }
    }

    fn tell_stop(&mut self) {
        if self.stop.load(Ordering::Relaxed) {
            self.tell("interrupted: saving a checkpoint after this step; interrupt again to end at once");
        }
    }

    /// Announces, once, that the run is about to stop.
    fn tell(&mut self, text: &str) {
        if !std::mem::replace(&mut self.told_stop, true) {
            self.progress.suspend(|| note(text));
        }
    }
}

/// Whether only warnings and errors go to standard error.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Sends only warnings and errors to standard error.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether only warnings and errors go to standard error.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// A number with its noun: `1 step`, `2 steps`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// Writes a line to standard error.
pub(crate) fn note(text: impl Into<Shown>) {
    if is_quiet() {
        return;
    }
    // If standard error is closed, the failure cannot be reported.
    let _ = io::stderr().write_all(text.into().and("\n").as_str().as_bytes());
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A number with spaces between thousands.
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
        format!("{start} for {}, then ", counted(plan.start_steps, "step"))
    });
    Shown::from(start)
        .and(Shown::styled(&bold, &plan.objective))
        .and(format!(
            ": {} over {} with {}, {} of them trained; {} parameters, about {:.0} MiB",
            counted(plan.steps, "step"),
            counted(plan.samples, "sample"),
            counted(plan.tokens, "token"),
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
