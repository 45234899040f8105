//! Logs on standard error that leave the progress bar intact: `--verbose`, or `CADFT_LOG` with a filter such as
//! `cadft_train=debug`.
//!
//! Logs are for developers. What a user should know is an event of the run, which is shown and recorded.

use crate::hint::UsageError;
use anyhow::Result;
use indicatif::ProgressBar;
use std::env;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::uptime;

/// The environment variable with the filter.
const VARIABLE: &str = "CADFT_LOG";

/// The progress bar, if there is one.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Starts logging. `verbose` is the number of `--verbose` options; `CADFT_LOG` takes precedence.
///
/// # Errors
/// If the filter of `CADFT_LOG` cannot be parsed.
pub(crate) fn start(verbose: u8) -> Result<()> {
    let filter = match env::var(VARIABLE) {
        Ok(filter) if !filter.trim().is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            UsageError::new(
                format!("`{VARIABLE}`: `{filter}` is not a filter: {error}"),
                "examples are `info`, `debug`, `warn,cadft_train=debug`",
            )
        })?,
        _ => EnvFilter::new(default_filter(verbose)),
    };
    // The `trace` level of `ureq` logs every byte of a request, including the Hub token.
    let quiet = ["ureq_proto=info", "ureq=debug"].map(|directive| directive.parse().expect("a directive"));
    let filter = quiet.into_iter().fold(filter, EnvFilter::add_directive);
    // A second start, as in a test that runs two commands, keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(uptime())
        .with_ansi(console::colors_enabled_stderr())
        .with_writer(|| PastTheBar)
        .try_init();
    Ok(())
}

fn default_filter(verbose: u8) -> String {
    let others = if verbose == 0 { "error" } else { "warn" };
    let of_cadft = |level: &str| {
        let crates = ["cli", "core", "data", "hub", "model", "step", "train"];
        let crates = crates.map(|name| format!(",cadft_{name}={level}"));
        format!("{others}{}", crates.concat())
    };
    match verbose {
        // Warnings of libraries are for developers.
        0 => of_cadft("warn"),
        1 => of_cadft("info"),
        2 => of_cadft("debug"),
        _ => "trace".to_owned(),
    }
}

/// Sets the bar to hide while a line is written; `None` when it is gone.
pub(crate) fn pass_by(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Standard error; hides the bar while it writes.
struct PastTheBar;

impl Write for PastTheBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // If standard error is closed, the failure cannot be reported, and a panic about it would end the program.
        let write = || {
            let _ = io::stderr().write_all(bytes);
        };
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_filter_can_be_read() {
        for verbose in 0..5 {
            EnvFilter::try_new(default_filter(verbose)).unwrap();
        }
        assert!(default_filter(2).contains("cadft_train=debug"));
    }
}
