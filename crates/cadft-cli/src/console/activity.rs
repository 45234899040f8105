//! What the program is busy with, while nothing else is shown: on a terminal a line that moves, elsewhere a line now and then.
//!
//! What is quick says nothing.

use super::{count, is_quiet, note};
use crate::log;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// After which time a terminal shows it, and how often it is drawn.
const ON_TERMINAL: [Duration; 2] = [Duration::from_millis(1500), Duration::from_millis(250)];
/// After which time there is a plain line, and how long it is to the next.
const PLAIN: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

/// Something that takes time; it ends when the value is dropped.
pub(crate) struct Activity {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    what: String,
    /// How many parts are done, and of how many; 0 of them where that is unknown.
    done: AtomicUsize,
    total: AtomicUsize,
    has_ended: Mutex<bool>,
    wake: Condvar,
}

impl Activity {
    /// Begins something that takes an unknown time.
    pub(crate) fn begin(what: impl Into<String>) -> Self {
        Self::of(what, 0)
    }

    /// Begins something with `total` parts.
    pub(crate) fn of(what: impl Into<String>, total: usize) -> Self {
        let shared = Arc::new(Shared {
            what: what.into(),
            done: AtomicUsize::new(0),
            total: AtomicUsize::new(total),
            has_ended: Mutex::new(false),
            wake: Condvar::new(),
        });
        let watched = Arc::clone(&shared);
        // Without a thread there would only be less to see.
        let thread = (!is_quiet()).then(|| thread::Builder::new().spawn(move || watched.show()).ok());
        Self {
            shared,
            thread: thread.flatten(),
        }
    }

    /// Says how many parts are done.
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
            // A panic of a thread that only shows something is none of the program.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Shows it until it ends.
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

    /// What it is, and how far.
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
    // A template that does not parse would only look plainer.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
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
