//! Shows what the program is doing while nothing else is shown: a spinner on a terminal, a line now and then elsewhere.
//!
//! Short activities are not shown.

use super::{count, is_quiet, note};
use crate::log;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Delay before the first display on a terminal, and the interval between displays.
const ON_TERMINAL: [Duration; 2] = [Duration::from_millis(1500), Duration::from_millis(250)];
/// Delay before the first plain line, and the interval between lines.
const PLAIN: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

/// An activity that takes time. It ends when the value is dropped.
pub(crate) struct Activity {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    what: String,
    /// Number of parts that are done, of `total`; `total` is 0 if it is unknown.
    done: AtomicUsize,
    total: AtomicUsize,
    has_ended: Mutex<bool>,
    wake: Condvar,
}

impl Activity {
    /// Begins an activity of unknown length.
    pub(crate) fn begin(what: impl Into<String>) -> Self {
        Self::of(what, 0)
    }

    /// Begins an activity with `total` parts.
    pub(crate) fn of(what: impl Into<String>, total: usize) -> Self {
        let shared = Arc::new(Shared {
            what: what.into(),
            done: AtomicUsize::new(0),
            total: AtomicUsize::new(total),
            has_ended: Mutex::new(false),
            wake: Condvar::new(),
        });
        let watched = Arc::clone(&shared);
        // If no thread can be started, the activity is not shown.
        let thread = (!is_quiet()).then(|| thread::Builder::new().spawn(move || watched.show()).ok());
        Self {
            shared,
            thread: thread.flatten(),
        }
    }

    /// Sets the number of parts that are done.
    pub(crate) fn at(&self, done: usize) {
        self.shared.done.store(done, Ordering::Relaxed);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        *self
            .shared
            .has_ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the display thread does not affect the program.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Shows the activity until it ends.
    fn show(&self) {
        let is_terminal = io::stderr().is_terminal();
        let [first, between] = if is_terminal { ON_TERMINAL } else { PLAIN };
        let (begun, mut wait, mut bar) = (Instant::now(), first, None);
        let mut has_ended = self.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self.wake.wait_timeout_while(has_ended, wait, |ended| !*ended);
            (has_ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if *has_ended {
                break;
            }
            wait = between;
            if is_terminal {
                let bar: &ProgressBar = bar.get_or_insert_with(line);
                bar.set_message(self.said());
                bar.tick();
            } else {
                note(format!(
                    "{}: {:#} so far",
                    self.said(),
                    HumanDuration(begun.elapsed())
                ));
            }
        }
        if let Some(bar) = bar {
            log::pass_by(None);
            bar.finish_and_clear();
        }
    }

    /// The text: the activity and its progress.
    fn said(&self) -> String {
        let [done, total] = [&self.done, &self.total].map(|number| number.load(Ordering::Relaxed));
        match total {
            0 => self.what.clone(),
            total => format!("{}: {} of {}", self.what, count(done), count(total)),
        }
    }
}

fn line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // If the template does not parse, the default style is used.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}  {elapsed}") {
        bar.set_style(style);
    }
    log::pass_by(Some(bar.clone()));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quick_ends_at_once_and_what_is_not_says_how_far_it_is() {
        let begun = Instant::now();
        let activity = Activity::of("counting", 1200);
        activity.at(7);
        assert_eq!(activity.shared.said(), "counting: 7 of 1 200");
        drop(activity);
        assert!(begun.elapsed() < ON_TERMINAL[0], "it waits for nothing");
        assert_eq!(Activity::begin("reading").shared.said(), "reading");
    }
}
