//! The lines of a run's logs, from the types that are serialised.

use super::cell;
use super::schema::{properties, table};
use crate::schema::schema;
use cadft_train::{Event, Plan, StepMetrics, StepSamples, Summary};
use std::collections::BTreeMap;

/// A block for each kind of line, one for the events, and one for the types inside them.
pub(super) fn blocks() -> BTreeMap<String, String> {
    let block = |name: &str, text: String| (format!("events {name}"), text);
    BTreeMap::from([
        block("step", table(&schema::<StepMetrics>())),
        block("samples", table(&schema::<StepSamples>())),
        block("plan", table(&schema::<Plan>())),
        block("finished", table(&schema::<Summary>())),
        block("all", events()),
    ])
}

/// One row for each event: its name, when it happens, and its keys.
fn events() -> String {
    let schema = schema::<Event>();
    let events = schema["oneOf"].as_array().into_iter().flatten();
    let rows = events.map(|event| {
        let name = event["properties"]["event"]["const"].as_str().unwrap_or_default();
        let about = cell(event["description"].as_str().unwrap_or_default());
        let keys: Vec<_> = (properties(event).into_iter().flatten())
            .filter(|(key, _)| *key != "event")
            .map(|(key, _)| format!("`{key}`"))
            .collect();
        format!("| `{name}` | {about} | {} |\n", keys.join(", "))
    });
    rows.fold(
        "| `event` | when | other keys |\n|---|---|---|\n".to_owned(),
        |table, row| table + &row,
    )
}
