//! A small run with rounds of rewriting.

use crate::CADFT;
use cadft_tests::command::{Outcome, lines, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Rounds after steps 8 and 10. An epoch has four steps, so by then every sample has been seen twice.
const RECIPE: &str = r#"
objective = "nll"
[model]
path = "embedded:quickstart"
[data]
train = ["train.jsonl"]
max-length = 128
[batch]
global = 16
micro = 8
[optimizer]
lr = 5e-4
[schedule]
steps = 12
[checkpoint]
every = 0
[rewrite]
warmup = 8
every = 2
fraction = 0.1
probability = 1.0
max-new-tokens = 48
"#;

/// A directory with the recipe and 64 demonstrations of the quickstart, of all kinds.
pub(crate) struct Study(TempDir);

impl Study {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let rows =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cadft-cli/assets/quickstart/train.jsonl");
        let rows = fs::read_to_string(rows).expect("the quickstart's data");
        let rows: Vec<&str> = rows.lines().step_by(3000 / 64).take(64).collect();
        fs::write(directory.path().join("train.jsonl"), rows.join("\n") + "\n").expect("data");
        fs::write(directory.path().join("recipe.toml"), RECIPE).expect("a recipe");
        Self(directory)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn cadft(&self, args: &[&str]) -> Outcome {
        run(CADFT, self.0.path(), args)
    }

    /// Trains into `out` with these settings.
    pub(crate) fn train(&self, out: &str, settings: &[&str]) -> Outcome {
        let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        self.cadft(&[&["train", "--recipe", "recipe.toml", "--out", out][..], &set].concat())
    }

    /// The events of one kind in the metrics of a run.
    pub(crate) fn events(&self, out: &str, kind: &str) -> Vec<Value> {
        let mut events = lines(&self.read(&format!("{out}/metrics.jsonl")));
        events.retain(|event| event["event"] == kind);
        events
    }

    /// The lines of one kind in the rewriting log of a run.
    pub(crate) fn log(&self, out: &str, kind: &str) -> Vec<Value> {
        let mut records = lines(&self.read(&format!("{out}/rewrites.jsonl")));
        records.retain(|record| record["kind"] == kind);
        records
    }
}
