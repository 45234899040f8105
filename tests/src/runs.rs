//! Starts, kills and compares runs.

use crate::command::cache;
use cadft_train::run_files::{CHECKPOINTS, COMPATIBILITY, METRICS, MODEL, REWRITES};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Keys of `metrics.jsonl` that depend on the machine and the time, as documented in the reference of metrics.
pub const VOLATILE: [&str; 4] = ["tokens_per_sec", "peak_rss_mib", "elapsed_secs", "ranks"];

/// A run that was started.
#[derive(Debug)]
pub struct Started(pub Child);

impl Started {
    /// Starts `binary` in `root`, without its output.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn new(binary: &str, root: &Path, args: &[&str]) -> Self {
        let child = Command::new(binary)
            .args(args)
            .current_dir(root)
            .env("CADFT_CACHE", cache())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the command starts"))
    }

    /// Whether it is still running.
    ///
    /// # Panics
    /// If the system does not report it.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }

    /// Sends SIGKILL. Returns whether the run was still running.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(mut self) -> bool {
        let was_running = self.is_running();
        self.0.kill().expect("a child can be killed");
        let _ = self.0.wait();
        was_running
    }

    /// Sends SIGTERM. Returns the exit code.
    ///
    /// # Panics
    /// If it cannot be signalled.
    pub fn terminate(self) -> Option<i32> {
        self.signal("TERM")
    }

    /// Sends a signal, by its name without `SIG`. Returns the exit code.
    ///
    /// # Panics
    /// If it cannot be signalled.
    pub fn signal(mut self, name: &str) -> Option<i32> {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} to {id}");
        self.0.wait().expect("a child").code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The results of a run that must not depend on interruptions: `metrics.jsonl` without its volatile keys, the files
/// about rewriting, and every file of the final model and of the last checkpoint.
///
/// # Panics
/// If something is missing.
#[must_use]
pub fn remains(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut remains = BTreeMap::new();
    let checkpoint = checkpoints(run).pop().expect("a checkpoint");
    for directory in [run.join(MODEL), checkpoint.clone(), checkpoint.join("training")] {
        for entry in
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path
                    .strip_prefix(run)
                    .expect("a path below")
                    .to_string_lossy()
                    .into_owned();
                let _ = remains.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    for name in [REWRITES, COMPATIBILITY] {
        if let Ok(bytes) = fs::read(run.join(name)) {
            let _ = remains.insert(name.to_owned(), bytes);
        }
    }
    let _ = remains.insert(METRICS.to_owned(), metrics(run).join("\n").into_bytes());
    remains
}

/// Asserts that two runs have the same results. The message names the first file that differs.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
    let names = |remains: &BTreeMap<String, Vec<u8>>| remains.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}: files");
    for (name, expected) in expected {
        let found = &found[name];
        if found == expected {
            continue;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (found, expected) = (text(found), text(expected));
        let pair = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
        let short = |line: &str| line.chars().take(600).collect::<String>();
        panic!(
            "{what}: `{name}` differs: {:?} lines of {}",
            pair.map(|(a, b)| (short(a), short(b))),
            (found.lines().count(), expected.lines().count()).0
        );
    }
}

/// The lines of `metrics.jsonl` without their volatile keys.
///
/// # Panics
/// If a line is not JSON.
#[must_use]
pub fn metrics(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join(METRICS)).expect("metrics");
    text.lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).expect("a line of JSON");
            for key in VOLATILE {
                let _ = line.as_object_mut().and_then(|line| line.remove(key));
            }
            // The memory of a rank depends on the number of ranks.
            for key in ["memory_mib", "saving_mib", "ranks"] {
                let plan = line.get_mut("plan").and_then(Value::as_object_mut);
                let _ = plan.and_then(|plan| plan.remove(key));
            }
            line.to_string()
        })
        .collect()
}

/// The checkpoints of a run, by number.
#[must_use]
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join(CHECKPOINTS)).into_iter().flatten();
    let step =
        |path: &Path| -> Option<usize> { path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok() };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| step(path).is_some())
        .collect();
    paths.sort_by_key(|path| step(path));
    paths
}
