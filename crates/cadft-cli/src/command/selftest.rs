//! `cadft selftest`: checks that a device computes correctly, with data that are embedded in the program.
//!
//! | file | checks |
//! |---|---|
//! | `products.rs` | products of matrices and a linear layer against f64 on the host |
//! | `rows.rs` | sums and selections of rows against f64 on the host; gated units as factors |
//! | `projection.rs` | likelihood and objectives against a reference in f64 on the host |
//! | `attention.rs` | attention and its gradients against a reference in f64 on the host |
//! | `model.rs` | a tiny Llama against transformers: logits, gradients by name, ten optimizer steps; decoding; bf16 |
//! | `batches.rs` | micro-batches, padding, packing and recomputation change nothing |
//! | `ranks.rs` | what ranks exchange between devices is what they have |
//! | `training.rs` | twenty steps of a recipe against an independent trainer in `PyTorch`; saving and loading |
//! | `report.rs` | errors, tolerances, lines |

mod arrays;
mod attention;
mod batches;
mod gates;
mod model;
mod products;
mod projection;
mod ranks;
mod report;
mod rows;
mod training;

pub(super) use report::Line;

use crate::args::SelftestArgs;
use crate::console::next;
use crate::exit::Exit;
use crate::{device, hint, panics};
use anyhow::{Context, Result};
use burn::tensor::Device;
use cadft_kernels::{Tf32, set_tf32};
use include_dir::{Dir, include_dir};
use report::Report;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

/// Copies of fixtures of the test suites.
static DATA: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/selftest");

/// The environment of the checks.
struct Bench<'a> {
    /// The device, without autodiff.
    device: Device,
    device_name: &'a str,
    /// Whether products of f32 may be computed in TF32.
    tf32: Tf32,
    /// The embedded data, written to disk; also the place for other files.
    directory: &'a Path,
}

type Group = fn(&Bench<'_>, &mut Report) -> Result<()>;

const GROUPS: [(&str, Group); 8] = [
    ("matrix products", products::run),
    ("rows", rows::run),
    ("likelihood and objectives", projection::run),
    ("attention", attention::run),
    ("model", model::run),
    ("batches", batches::run),
    ("ranks", ranks::run),
    ("training", training::run),
];

pub(crate) fn run(args: &SelftestArgs) -> Result<Exit> {
    let device_name = device::name(args.device.device.as_deref());
    let device = device::open(device_name)?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    write_data(directory.path())?;
    let bench = Bench {
        device,
        device_name,
        tf32: Tf32::from_flag(args.tf32),
        directory: directory.path(),
    };
    set_tf32(bench.tf32);
    let mut report = Report::new(args.json);
    run_groups(&bench, &mut report)?;
    report.finish(device_name)?;
    next::selftested(device_name, report.has_failed());
    Ok(if report.has_failed() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn write_data(directory: &Path) -> Result<()> {
    DATA.extract(directory)
        .with_context(|| format!("cannot write to `{}`", cadft_files::shown(&directory)))
}

/// Runs every group of checks. A group that panics or fails counts as one failed check.
fn run_groups(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    for (name, group) in GROUPS {
        // Backends panic if they cannot continue.
        let ended = panic::catch_unwind(AssertUnwindSafe(|| group(bench, report)));
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) if hint::is_closed_pipe(&error) => return Err(error),
            Ok(Err(error)) => report.failed(name, &format!("{error:#}"))?,
            Err(payload) => report.failed(name, &panics::reason(panics::message_of(payload.as_ref())))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn run_with(change: impl Fn(&Path)) -> Report {
        let directory = tempfile::tempdir().unwrap();
        write_data(directory.path()).unwrap();
        change(directory.path());
        let bench = Bench {
            device: device::open("flex").unwrap(),
            device_name: "flex",
            tf32: Tf32::Allowed,
            directory: directory.path(),
        };
        let mut report = Report::quiet();
        run_groups(&bench, &mut report).unwrap();
        report
    }

    #[test]
    fn every_check_passes_on_flex() {
        let report = run_with(|_| {});
        assert!(!report.has_failed(), "{:?}", report.failures());
        assert!(report.passed() >= 30, "{}", report.passed());
    }

    #[test]
    fn a_wrong_expectation_fails_the_check_it_belongs_to_and_no_other() {
        let report = run_with(|data| {
            let path = data.join("run/expected.exact.jsonl");
            let lines = fs::read_to_string(&path).unwrap();
            assert!(lines.contains("\"loss\": 0.0745"));
            fs::write(&path, lines.replacen("\"loss\": 0.0745", "\"loss\": 0.0746", 1)).unwrap();
        });
        assert_eq!(report.failures(), ["training: loss"]);
    }

    #[test]
    fn data_that_cannot_be_read_fail_their_group_and_the_others_go_on() {
        let report = run_with(|data| fs::remove_file(data.join("tiny/model.safetensors")).unwrap());
        assert_eq!(report.failures(), ["model", "batches"]);
        assert!(report.passed() >= 15, "{}", report.passed());
    }
}
