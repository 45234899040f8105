//! Shared parts of the test suites: fixtures, devices, the table of tolerances.

pub mod arrays;
mod by_name;
pub mod command;
pub mod runs;
pub mod synthetic;
pub mod terminal;
pub mod workspace;

use burn::tensor::Device;
use std::path::PathBuf;

pub use arrays::Arrays;
pub use by_name::{Named, gradients_by_name, trained};
pub use cadft_cli::tolerance::{self, *};
pub use workspace::Workspace;

/// The example of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// A file or directory under `tests/fixtures`.
#[must_use]
pub fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}

/// Which of the compiled backends the suites run on, separated by commas; all of them where it is not set.
const ASKED: &str = "CADFT_TEST_BACKENDS";

/// The names of the backends that the suites run on.
///
/// # Panics
/// If one that is asked for was not compiled: a suite must not pass without it.
#[must_use]
pub fn backends() -> Vec<&'static str> {
    let compiled = cadft_train::device::compiled();
    let Ok(asked) = std::env::var(ASKED) else {
        return compiled;
    };
    let name = |asked: &str| {
        let found = compiled.iter().find(|&&name| name == asked);
        *found.unwrap_or_else(|| panic!("`{ASKED}`: `{asked}` was not compiled"))
    };
    asked.split(',').map(name).collect()
}

/// Every device the suites run on, by name, without autodiff.
///
/// # Panics
/// If a backend has no device: a suite that was asked to run on it must not pass without it.
#[must_use]
pub fn devices() -> Vec<(&'static str, Device)> {
    backends()
        .into_iter()
        .map(|name| {
            (
                name,
                cadft_train::device::parse(name).expect("a compiled backend has a device"),
            )
        })
        .collect()
}
