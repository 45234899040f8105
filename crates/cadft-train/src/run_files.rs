//! The names of the files and directories in a run directory.

/// The whole recipe as it was run, in TOML.
pub const CONFIG: &str = "config.resolved.toml";
/// Program, command line, git revision, machine and backends.
pub const ENVIRONMENT: &str = "environment.json";
/// One object a step; other events carry an `event` key.
pub const METRICS: &str = "metrics.jsonl";
/// Scores and weights of single samples on some steps.
pub const SAMPLES: &str = "samples.jsonl";
/// Events that are specific to this run, with their time.
pub const HISTORY: &str = "history.jsonl";
/// Every decision of every round of rewriting.
pub const REWRITES: &str = "rewrites.jsonl";
/// The moving averages of all samples' compatibility, at the end of the run.
pub const COMPATIBILITY: &str = "compatibility.jsonl";
/// The directory of TensorBoard event files.
pub const TENSORBOARD: &str = "tensorboard";
/// The directory of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The directory of the final model.
pub const MODEL: &str = "model";
/// The directory of notes of ranks that wait for others.
pub const RANKS: &str = "ranks";
/// The lock of the process that writes the run.
pub const LOCK: &str = "run.lock";
