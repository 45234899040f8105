//! What the directory of a run says of it, as far as a card needs it. Logs of samples are not opened.

use crate::hint::UsageError;
use anyhow::Result;
use cadft_files::shown;
use cadft_train::hub::{RepoKind, Spec};
use cadft_train::run_files::{CONFIG, ENVIRONMENT, HISTORY, METRICS};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A finished run. All values are as its files have them.
pub(crate) struct Record {
    /// The resolved recipe.
    pub(crate) recipe: Value,
    pub(super) environment: Value,
    pub(super) plan: Value,
    /// The event at the end.
    pub(super) finished: Value,
    /// Demonstrations that were replaced by rewriting, in all rounds.
    pub(super) rewritten: u64,
}

impl Record {
    /// Reads a run's directory; only its recipe is required.
    pub(crate) fn read(run: &Path) -> Result<Self> {
        let path = run.join(CONFIG);
        let wrong = |what: String| {
            let message = format!("`{}` {what}", shown(&path));
            UsageError::new(message, "give the model's directory to send it without its run")
        };
        let recipe =
            cadft_files::read_to_string(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let recipe = toml::from_str(&recipe).map_err(|error| wrong(format!("is no recipe: {error}")))?;
        let environment = cadft_files::read(&run.join(ENVIRONMENT)).unwrap_or_default();
        let mut record = Self {
            recipe,
            environment: serde_json::from_slice(&environment).unwrap_or_default(),
            plan: Value::Null,
            finished: Value::Null,
            rewritten: 0,
        };
        // The history has the end of a run whose metrics have none.
        for log in [HISTORY, METRICS] {
            record.rewritten = 0;
            record.read_events(&run.join(log));
        }
        Ok(record)
    }

    fn read_events(&mut self, log: &Path) {
        let Ok(file) = cadft_files::open(log) else { return };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        for line in lines.filter(|line| line.contains("\"event\"")) {
            let Ok(mut event) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            match event["event"].as_str() {
                Some("started") => self.plan = event["plan"].take(),
                Some("finished") => self.finished = event,
                Some("rewrote") => self.rewritten += event["replaced"].as_u64().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// The model on the Hub that was trained; `None` if it is a directory, or if training began with random weights.
    pub(crate) fn base_model(&self) -> Option<String> {
        let model = &self.recipe["model"];
        if model["init"] == "random" {
            return None;
        }
        let spec = Spec::parse(model["path"].as_str()?).ok()??;
        (spec.kind == RepoKind::Model).then_some(spec.id)
    }

    /// The data sets on the Hub that were trained on, each once.
    pub(super) fn datasets(&self) -> Vec<String> {
        let mut ids = vec![];
        for source in sources(&self.plan["sources"]) {
            let spec = source["path"].as_str().and_then(|path| Spec::parse(path).ok()?);
            if let Some(spec) = spec.filter(|spec| spec.kind == RepoKind::Dataset && !ids.contains(&spec.id))
            {
                ids.push(spec.id);
            }
        }
        ids
    }

    /// `lora` or `dora`.
    pub(super) fn adapter_kind(&self) -> Option<String> {
        let adapter = self.recipe.get("adapter")?;
        Some(adapter["kind"].as_str().unwrap_or("lora").to_owned())
    }
}

/// The sources of a plan.
pub(super) fn sources(sources: &Value) -> &[Value] {
    sources.as_array().map_or(&[], Vec::as_slice)
}
