//! Reads a run directory. The run may be finished, running or interrupted, and files may be missing.

use super::settings::flatten;
use crate::hint::UsageError;
use anyhow::Result;
use cadft_train::run_files::{CONFIG, ENVIRONMENT, HISTORY, METRICS, REWRITES, SAMPLES};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The contents of a run directory.
pub(super) struct Run {
    pub(super) name: String,
    /// The resolved recipe, by dotted key.
    pub(super) recipe: BTreeMap<String, String>,
    /// The resolved recipe as JSON.
    pub(super) resolved: Option<Value>,
    /// The environment by key.
    pub(super) environment: BTreeMap<String, String>,
    /// The lines of `metrics.jsonl` that are steps.
    pub(super) steps: Vec<Map<String, Value>>,
    /// All other lines of `metrics.jsonl`. Also, from `history.jsonl`, resumptions, warnings and, if the metrics have
    /// no end, the end.
    pub(super) events: Vec<Map<String, Value>>,
    /// The lines of `samples.jsonl`.
    pub(super) samples: Vec<Map<String, Value>>,
    /// The lines of `rewrites.jsonl`.
    pub(super) rewrites: Vec<Map<String, Value>>,
    /// Number of lines that are not JSON, such as the last line of a run that was killed.
    pub(super) broken: usize,
}

impl Run {
    /// Reads the run in `directory`; only its recipe is required.
    pub(super) fn read(directory: &Path, name: String) -> Result<Self> {
        let text = |file: &str| {
            cadft_files::read(&directory.join(file)).map(|b| String::from_utf8_lossy(&b).into_owned())
        };
        let recipe = text(CONFIG).map_err(|error| {
            UsageError::new(
                format!(
                    "`{}` is not the directory of a run: {error}",
                    cadft_files::shown(&directory)
                ),
                format!("a run's directory holds `{CONFIG}`; give the one named by `--out` or `run.out`"),
            )
        })?;
        let recipe: Value = toml::from_str(&recipe).unwrap_or(Value::Null);
        let environment: Value = text(ENVIRONMENT)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Value::Null);
        let mut broken = 0;
        let mut lines = |file: &str| json_lines(&text(file).unwrap_or_default(), &mut broken);
        let metrics = lines(METRICS);
        let (mut events, steps): (Vec<_>, Vec<_>) =
            metrics.into_iter().partition(|line| line.contains_key("event"));
        let has_end = events.iter().any(|event| event["event"] == "finished");
        events.extend(lines(HISTORY).into_iter().filter(|event| {
            let name = event.get("event").and_then(Value::as_str);
            matches!(name, Some("resumed" | "warned")) || (name == Some("finished") && !has_end)
        }));
        let samples = lines(SAMPLES);
        let rewrites = lines(REWRITES);
        Ok(Self {
            name,
            recipe: flatten(&recipe),
            resolved: Some(recipe),
            environment: flatten(&environment),
            steps,
            events,
            samples,
            rewrites,
            broken,
        })
    }

    /// The events with this name.
    pub(super) fn events_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Map<String, Value>> {
        self.events.iter().filter(move |event| event["event"] == name)
    }
}

/// The JSON objects of a text with one object a line. Counts other lines in `broken`.
fn json_lines(text: &str, broken: &mut usize) -> Vec<Map<String, Value>> {
    let mut objects = vec![];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Value::Object(object)) => objects.push(object),
            _ => *broken += 1,
        }
    }
    objects
}
