//! Tokenising and reading training data, compared with `datasets` and `transformers`, in alternating runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{fetch, python, shell};

/// Number of rows in the file that both sides read, and in the file that only cadft reads, to measure its memory.
const ROWS: usize = 40_000;
const MANY_ROWS: usize = 1_000_000;
const ROUNDS: usize = 3;

/// Prints one JSON line for each run: `ours` and `peer` alternately, each first without and then with its cache; then
/// `ours` on a million rows.
pub(super) fn run() -> Result<()> {
    fetch::smollm2(None)?;
    let root = shell::workspace_root();
    let interpreter = python::environment("fixtures", &root.join("python/requirements.txt"))?;
    let build = ["--release", "--workspace", "--example", "tokenize"];
    shell::run(shell::cargo_in_workspace("build").args(build))?;
    let scratch = shell::target_dir().join("bench-data");
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)
            .with_context(|| format!("cannot remove `{}`", scratch.display()))?;
    }
    std::fs::create_dir_all(&scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
    let bench = Bench {
        interpreter,
        script: root.join("python/bench_data.py"),
        ours: shell::target_dir().join("release/examples/tokenize"),
        model: root.join("models/smollm2-135m-instruct"),
        template: root.join("crates/cadft-data/src/template/preset/chatml.jinja"),
        scratch,
    };
    let data = bench.data(ROWS)?;
    for round in 0..ROUNDS {
        for state in ["cold", "cached"] {
            bench.ours(&data, round, state)?;
        }
        for state in ["cold", "cached"] {
            bench.peer(&data, round, state)?;
        }
    }
    let many = bench.data(MANY_ROWS)?;
    for state in ["many rows, cold", "many rows, cached"] {
        bench.ours(&many, ROUNDS, state)?;
    }
    Ok(())
}

struct Bench {
    interpreter: PathBuf,
    script: PathBuf,
    ours: PathBuf,
    model: PathBuf,
    template: PathBuf,
    scratch: PathBuf,
}

impl Bench {
    fn data(&self, rows: usize) -> Result<PathBuf> {
        let path = self.scratch.join(format!("{rows}.jsonl"));
        let mut command = Command::new(&self.interpreter);
        command
            .arg(&self.script)
            .args(["make", "--rows", &rows.to_string(), "--out"]);
        shell::run(command.arg(&path))?;
        Ok(path)
    }

    fn ours(&self, data: &Path, round: usize, state: &str) -> Result<()> {
        let cache = self.scratch.join(format!("ours-{round}"));
        report(
            "ours",
            state,
            Command::new(&self.ours).arg(&self.model).arg(data).arg(cache),
        )
    }

    fn peer(&self, data: &Path, round: usize, state: &str) -> Result<()> {
        let cache = self.scratch.join(format!("peer-{round}"));
        let mut command = Command::new(&self.interpreter);
        command
            .arg(&self.script)
            .arg("run")
            .args([&self.model, data, &self.template, &cache]);
        report("peer", state, command.env("HF_HUB_OFFLINE", "1"))
    }
}

/// Runs one measurement, and prints its output with the names of the side and of the state.
fn report(who: &str, state: &str, command: &mut Command) -> Result<()> {
    let output = shell::output(command)?;
    let line = output
        .lines()
        .rfind(|line| line.starts_with('{'))
        .context("no result")?;
    println!("{{\"who\": \"{who}\", \"state\": \"{state}\", {}", &line[1..]);
    Ok(())
}
