//! Interrupted runs, and the checkpoints that they continue from.

mod changes;
mod checkpoints;
mod disk;
mod guards;
mod kill;
#[cfg(all(feature = "mpi", target_os = "linux"))]
mod processes;
mod ranks;
mod resume;
mod rewriting;

use crate::CADFT;
use cadft_tests::command::Outcome;
use cadft_tests::{Workspace, runs};
use std::collections::BTreeMap;

/// Twenty steps of 8 samples, in micro-batches of 2: two and a half shuffled passes over the data, with evaluation.
const RECIPE: [&str; 9] = [
    "train",
    "--recipe",
    "recipe.running.toml",
    "--out",
    "run",
    "--set",
    "data.order=shuffled",
    "--set",
    "evaluate.every=7",
];

/// The recipe, with more arguments.
fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&RECIPE[..], more].concat()
}

fn train(workspace: &Workspace, more: &[&str]) -> Outcome {
    workspace.run(CADFT, &args(more))
}

/// The files of an uninterrupted run.
fn uninterrupted(more: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let workspace = Workspace::new();
    let _ = train(&workspace, more).succeeded();
    runs::remains(&workspace.path("run"))
}
