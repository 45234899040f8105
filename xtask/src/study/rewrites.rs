//! What rounds of rewriting did in the runs of a matrix, and whether the texts they put in reach the right answer.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Sums over the runs of a cell; the table divides them by the number of runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rewrites {
    /// Objective and settings.
    pub(super) cell: String,
    pub(super) runs: usize,
    /// Candidates that the model wrote.
    pub(super) drawn: usize,
    /// Demonstrations that one of them replaced.
    pub(super) replaced: usize,
    /// Those of them that were planted noise.
    pub(super) planted: usize,
    /// Those of them that reached the right answer before.
    pub(super) right_before: usize,
    /// Those of them that reach it now.
    pub(super) right_after: usize,
}

/// A line of `rewrites.jsonl`, with the keys that are used here.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line {
    Header {
        data: Data,
    },
    Sample {
        id: String,
        decision: String,
        old: Option<Side>,
        new: Option<Side>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Data {
    train: Vec<String>,
}

#[derive(Deserialize)]
struct Side {
    text: String,
}

/// A row of the training data.
#[derive(Deserialize)]
struct Row {
    id: String,
    answer: String,
    #[serde(default)]
    planted: Option<String>,
}

/// What `cadft compare` wrote about the runs in `out`, with the key `rewrites` if any of them rewrote.
pub(super) fn added(compared: &str, out: &Path, root: &Path) -> Result<String> {
    let rewrites = of_runs(out, root)?;
    if rewrites.is_empty() {
        return Ok(compared.to_owned());
    }
    let mut value: Value = serde_json::from_str(compared).context("not what `cadft compare` writes")?;
    value["rewrites"] = serde_json::to_value(rewrites)?;
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn of_runs(out: &Path, root: &Path) -> Result<Vec<Rewrites>> {
    let mut cells: BTreeMap<String, Rewrites> = BTreeMap::new();
    for run in fs::read_dir(out).with_context(|| format!("cannot read `{}`", out.display()))? {
        let run = run?;
        let log = run.path().join("rewrites.jsonl");
        let name = run.file_name().to_string_lossy().into_owned();
        let Some((cell, _seed)) = name.rsplit_once('-').filter(|_| log.exists()) else {
            continue;
        };
        let log = fs::read_to_string(&log).with_context(|| format!("cannot read `{}`", log.display()))?;
        let rows =
            |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("cannot read `{path}`"));
        let all = cells.entry(cell.to_owned()).or_insert_with(|| Rewrites {
            cell: cell.to_owned(),
            ..Rewrites::default()
        });
        count(all, &log, rows).with_context(|| format!("in `{name}`"))?;
    }
    Ok(cells.into_values().collect())
}

/// Adds one run to the sums.
fn count(all: &mut Rewrites, log: &str, read: impl Fn(&str) -> Result<String>) -> Result<()> {
    let mut rows: HashMap<String, Row> = HashMap::new();
    all.runs += 1;
    for line in log.lines() {
        match serde_json::from_str(line)? {
            Line::Header { data } => {
                for path in data.train {
                    for row in read(&path)?.lines() {
                        let row: Row = serde_json::from_str(row)?;
                        rows.insert(row.id.clone(), row);
                    }
                }
            }
            Line::Sample {
                id,
                decision,
                old: Some(old),
                new: Some(new),
            } => {
                all.drawn += 1;
                if decision != "replaced" {
                    continue;
                }
                let row = rows
                    .get(&id)
                    .with_context(|| format!("no row has the id `{id}`"))?;
                let is_right = |text: &str| usize::from(last_number(text) == Some(row.answer.as_str()));
                all.replaced += 1;
                all.planted += usize::from(row.planted.as_deref().is_some_and(|kind| kind != "none"));
                all.right_before += is_right(&old.text);
                all.right_after += is_right(&new.text);
            }
            Line::Sample { .. } | Line::Other => {}
        }
    }
    Ok(())
}

/// The last number of a text, which is the answer in every solution of the study.
fn last_number(text: &str) -> Option<&str> {
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = text[..end].rfind(|c: char| !c.is_ascii_digit());
    let start = start.map_or(0, |at| at + text[at..].chars().next().map_or(0, char::len_utf8));
    Some(&text[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_texts_are_counted_by_their_answers() {
        let log = [
            r#"{"kind": "header", "data": {"train": ["a.jsonl"]}, "seed": 1}"#,
            r#"{"kind": "sample", "id": "x", "decision": "replaced", "old": {"text": "1 + 2 = 4. It is 4"}, "new": {"text": "It is 3."}}"#,
            r#"{"kind": "sample", "id": "y", "decision": "replaced", "old": {"text": "7"}, "new": {"text": "so 8"}}"#,
            r#"{"kind": "sample", "id": "y", "decision": "kept", "old": {"text": "7"}, "new": {"text": "9"}}"#,
            r#"{"kind": "sample", "id": "z", "decision": "kept", "reason": "not-drawn"}"#,
            r#"{"kind": "round", "step": 4}"#,
        ];
        let rows = [
            r#"{"id": "x", "answer": "3", "planted": "numbers"}"#,
            r#"{"id": "y", "answer": "7", "planted": "none"}"#,
        ];
        let mut all = Rewrites::default();
        count(&mut all, &log.join("\n"), |path| {
            assert_eq!(path, "a.jsonl");
            Ok(rows.join("\n"))
        })
        .unwrap();
        let expected = Rewrites {
            runs: 1,
            drawn: 3,
            replaced: 2,
            planted: 1,
            right_before: 1,
            right_after: 1,
            ..Rewrites::default()
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn the_last_number_of_a_text_is_its_answer() {
        let found = ["Therefore it is 42.", "#### 7", "1 + 1 = 2 (é)", "none", "12"].map(last_number);
        assert_eq!(found, [Some("42"), Some("7"), Some("2"), None, Some("12")]);
    }
}
