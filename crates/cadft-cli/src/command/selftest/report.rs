//! Measures errors, and prints a line for every check.

use crate::output;
use crate::tolerance::{TF32, Tolerance};
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Instant;

/// The result of one check.
#[derive(Serialize, JsonSchema)]
pub(in crate::command) struct Line<'a> {
    /// What was checked.
    check: &'a str,
    /// Whether the error is within the tolerance.
    passed: bool,
    /// Largest relative error; null if the check broke off before, or the error is no number.
    error: Option<f64>,
    /// The largest that passes.
    tolerance: Option<f64>,
    /// The array that has the error, if several arrays are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    array: Option<&'a str>,
    /// Why a group of checks broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// Counts the checks and prints them as they end.
pub(super) struct Report {
    format: Format,
    /// Whether the device multiplies f32 with reduced precision.
    reduced: bool,
    passed: usize,
    failures: Vec<String>,
    started: Instant,
}

enum Format {
    Text,
    Json,
    #[cfg(test)]
    Quiet,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            format: if json { Format::Json } else { Format::Text },
            reduced: false,
            passed: 0,
            failures: vec![],
            started: Instant::now(),
        }
    }

    #[cfg(test)]
    pub(super) fn quiet() -> Self {
        Self {
            format: Format::Quiet,
            ..Self::new(false)
        }
    }

    /// From now on, compares f32 with the tolerances of bf16.
    pub(super) fn reduce_precision(&mut self) {
        self.reduced = true;
    }

    /// Compares arrays under one name, which stands for the largest of their errors.
    pub(super) fn compare(
        &mut self,
        name: &str,
        found: &[f64],
        expected: &[f64],
        bound: Tolerance,
    ) -> Result<()> {
        self.measured(name, largest_error(found, expected, bound), bound)
    }

    /// Adds an error that was measured elsewhere.
    pub(super) fn measured(&mut self, name: &str, error: f64, bound: Tolerance) -> Result<()> {
        self.measured_in(name, None, error, bound)
    }

    /// As [`Report::measured`], with the name of the array that has the error.
    pub(super) fn measured_in(
        &mut self,
        name: &str,
        array: Option<&str>,
        error: f64,
        bound: Tolerance,
    ) -> Result<()> {
        let tolerance = if self.reduced && bound.relative > 0.0 {
            bound.relative.max(TF32.relative)
        } else {
            bound.relative
        };
        // NaN exceeds every tolerance.
        let passed = error <= tolerance;
        self.line(&Line {
            check: name,
            passed,
            error: Some(error),
            tolerance: Some(tolerance),
            array,
            message: None,
        })
    }

    /// Adds a group of checks that was aborted.
    pub(super) fn failed(&mut self, name: &str, message: &str) -> Result<()> {
        self.line(&Line {
            check: name,
            passed: false,
            error: None,
            tolerance: None,
            array: None,
            message: Some(message),
        })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        if line.passed {
            self.passed += 1;
        } else {
            self.failures.push(line.check.to_owned());
        }
        match self.format {
            Format::Json => output::json_line(line),
            Format::Text => {
                let state = if line.passed { "ok" } else { "FAILED" };
                let number = |value: Option<f64>| match value {
                    None => String::new(),
                    Some(0.0) => "0".to_owned(),
                    Some(value) => format!("{value:.1e}"),
                };
                output::line(match line.message {
                    Some(message) => format!("{state:<7} {}: {message}", line.check),
                    None => format!(
                        "{state:<7} {:<58} {:>7}  tolerance {}{}",
                        line.check,
                        number(line.error),
                        number(line.tolerance),
                        match line.array {
                            Some(array) if !line.passed => format!("  in `{array}`"),
                            _ => String::new(),
                        }
                    ),
                })
            }
            #[cfg(test)]
            Format::Quiet => Ok(()),
        }
    }

    /// Prints the verdict, if the format is text.
    pub(super) fn finish(&self, device: &str) -> Result<()> {
        if !matches!(self.format, Format::Text) {
            return Ok(());
        }
        if self.reduced {
            output::line("f32 is multiplied with fewer digits on this device (TF32): tolerances are wider")?;
        }
        output::line(format!(
            "{device}: {} passed, {} failed, in {:.1} s",
            self.passed,
            self.failures.len(),
            self.started.elapsed().as_secs_f64()
        ))
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    #[cfg(test)]
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    #[cfg(test)]
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }
}

/// The largest difference, divided by the largest expected magnitude, or by the floor of the tolerance if that is
/// larger; NaN if a value is NaN, infinite if the lengths differ.
pub(super) fn largest_error(found: &[f64], expected: &[f64], by: Tolerance) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let scale = expected
        .iter()
        .fold(by.floor(), |max, value| max.max(value.abs()));
    let errors = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs());
    worst(errors) / scale
}

/// The largest of these errors; NaN if one is NaN.
pub(super) fn worst(errors: impl IntoIterator<Item = f64>) -> f64 {
    errors.into_iter().fold(0.0, |worst: f64, error| {
        if worst.is_nan() || error.is_nan() {
            f64::NAN
        } else {
            worst.max(error)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tolerance::{EXACT, F32};

    #[test]
    fn errors_are_relative_to_the_largest_value_and_nan_is_the_worst() {
        let by = Tolerance {
            relative: 0.5,
            absolute: 0.25,
        };
        assert_eq!(largest_error(&[1.0, 4.5], &[1.0, 4.0], by), 0.125);
        assert_eq!(largest_error(&[0.25], &[0.0], by), 0.5);
        assert!(largest_error(&[f64::NAN, 1.0], &[0.0, 1.0], EXACT).is_nan());
        assert!(largest_error(&[1.0], &[], EXACT).is_infinite());
        assert!(worst([1.0, f64::NAN, 2.0]).is_nan());
    }

    #[test]
    fn what_is_outside_its_tolerance_or_no_number_fails() {
        let mut report = Report::quiet();
        report.compare("good", &[1.0], &[1.0 + 9e-6], F32).unwrap();
        assert!(!report.has_failed());
        report.compare("bad", &[1.0], &[1.0 + 2e-5], F32).unwrap();
        report.compare("nan", &[f64::NAN], &[1.0], F32).unwrap();
        report.reduce_precision();
        report.compare("reduced", &[1.0], &[1.001], F32).unwrap();
        report.compare("exact", &[1.0], &[1.001], EXACT).unwrap();
        assert_eq!(report.failures(), ["bad", "nan", "exact"]);
    }
}
