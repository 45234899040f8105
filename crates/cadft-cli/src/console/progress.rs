//! The progress of a run: a bar on a terminal, otherwise at most about twenty lines.

use super::{is_quiet, note};
use crate::grid;
use crate::log;
use cadft_train::StepMetrics;
use console::Term;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// What is drawn, and what of it on a terminal of fewer columns than [`WIDE`]: it must stay one line.
const BAR: &str = "{bar:24} {pos}/{len}  {wide_msg}  {eta} left";
const NARROW_BAR: &str = "{pos}/{len}  {wide_msg}";
/// The same after the first step, which does not say how long others take.
const FIRST_BAR: &str = "{bar:24} {pos}/{len}  {wide_msg}";
const WIDE: usize = 100;

/// Number of plain lines in a run, besides the first and the last.
const LINES: usize = 18;

/// The progress of a run of a known number of steps.
pub(crate) struct Progress {
    total: usize,
    /// The bar, on a terminal; made at the first step.
    bar: Option<ProgressBar>,
    is_terminal: bool,
    first_step: Option<(usize, Instant)>,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            bar: None,
            is_terminal: io::stderr().is_terminal() && !is_quiet(),
            first_step: None,
        }
    }

    /// Shows a finished step.
    pub(crate) fn step(&mut self, metrics: &StepMetrics) {
        if self.is_terminal {
            let total = self.total;
            if let Some(bar) = &self.bar {
                style(bar, BAR);
            }
            let bar = self.bar.get_or_insert_with(|| {
                let bar = bar(total);
                log::pass_by(Some(bar.clone()));
                // Set the position first: steps of an earlier process must not count in the estimate of the time left.
                bar.set_position(metrics.step.saturating_sub(1) as u64);
                bar.reset_eta();
                bar
            });
            bar.set_position(metrics.step as u64);
            bar.set_message(values(metrics));
            return;
        }
        let (first, started) = *self.first_step.get_or_insert((metrics.step, Instant::now()));
        if is_shown(metrics.step, self.total) {
            let left = remaining(started.elapsed(), metrics.step - first, self.total - metrics.step);
            let left = left.map_or_else(String::new, |left| format!("  {:#} left", HumanDuration(left)));
            note(format!(
                "step {}/{}  {}{left}",
                metrics.step,
                self.total,
                values(metrics)
            ));
        }
    }

    /// Shows an activity between steps on the bar. Returns whether there is a bar.
    pub(crate) fn says(&self, text: impl FnOnce() -> String) -> bool {
        let bar = self.bar.as_ref();
        bar.is_some_and(|bar| {
            bar.set_message(text());
            true
        })
    }

    /// Runs `print` with the bar hidden.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Leaves the bar as it is.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            log::pass_by(None);
            bar.abandon();
        }
    }
}

fn bar(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    style(&bar, FIRST_BAR);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Draws the bar as in `wide`, or as the terminal has room for.
fn style(bar: &ProgressBar, wide: &str) {
    let columns = grid::columns(&Term::stderr()).unwrap_or(WIDE);
    let template = if columns < WIDE { NARROW_BAR } else { wide };
    // If the template does not parse, the style stays as it is.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

fn values(metrics: &StepMetrics) -> String {
    format!(
        "nll {:.4}  loss {:.4}  lr {:.1e}  {:.0} tok/s",
        metrics.nll, metrics.loss, metrics.lr, metrics.tokens_per_sec
    )
}

/// Whether to print a plain line for this step: the first, the last, and some between them at equal distances.
fn is_shown(step: usize, total: usize) -> bool {
    step == 1 || step == total || step.is_multiple_of(total.div_ceil(LINES).max(1))
}

/// The estimated time of `left` steps, if `done` steps took `elapsed`.
fn remaining(elapsed: Duration, done: usize, left: usize) -> Option<Duration> {
    (done > 0 && left > 0).then(|| elapsed.mul_f64(left as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_at_most_twenty_lines_with_the_first_and_the_last() {
        for total in 1..500 {
            let shown: Vec<_> = (1..=total).filter(|&step| is_shown(step, total)).collect();
            assert!(shown.len() <= LINES + 2, "{total}: {}", shown.len());
            assert_eq!((shown.first(), shown.last()), (Some(&1), Some(&total)));
            assert!(total < 20 || shown.len() >= 10, "{total}: {}", shown.len());
        }
    }

    #[test]
    fn remaining_time_follows_the_steps_done() {
        assert_eq!(
            remaining(Duration::from_secs(10), 5, 20),
            Some(Duration::from_secs(40))
        );
        assert_eq!(remaining(Duration::from_secs(10), 0, 20), None);
    }
}
