//! Shared code of the test suites: fixtures, devices, the table of tolerances.

pub mod arrays;
mod by_name;
pub mod command;
pub mod runs;
pub mod schema;
pub mod synthetic;
pub mod terminal;
pub mod workspace;

use burn::tensor::Device;
use std::path::PathBuf;

pub use arrays::Arrays;
pub use by_name::{Named, gradients_by_name, trained};
pub use cadft_cli::tolerance::{self, *};
pub use workspace::Workspace;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The path of a file or directory under `tests/fixtures`.
#[must_use]
pub fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}

/// The variable with the backends to test, separated by commas. If it is not set, all compiled ones are tested.
const ASKED: &str = "CADFT_TEST_BACKENDS";

/// The names of the backends to test.
///
/// # Panics
/// If a requested backend is not compiled in: a suite must not pass without it.
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

/// Every device to test, by name, without autodiff.
///
/// # Panics
/// If a backend has no device: a suite must not pass without it.
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
