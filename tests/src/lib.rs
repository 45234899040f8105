//! Shared parts of the test suites: fixtures, tolerances, devices.

pub mod arrays;
pub mod command;
pub mod runs;
pub mod synthetic;
pub mod tolerance;
pub mod workspace;

use burn::tensor::Device;
use std::path::PathBuf;

pub use arrays::Arrays;
pub use tolerance::{BF16, F32, Tolerance};
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

/// Every device this build can run on, by name, without autodiff.
///
/// # Panics
/// If a compiled backend has no device: a suite that was asked to run on it must not pass without it.
#[must_use]
pub fn devices() -> Vec<(&'static str, Device)> {
    cadft_train::device::compiled()
        .into_iter()
        .map(|name| {
            (
                name,
                cadft_train::device::parse(name).expect("a compiled backend has a device"),
            )
        })
        .collect()
}
