//! Rounds of rewriting, with the text before and after, from `rewrites.jsonl`.

use super::text::{plain, shortened};
use serde::Serialize;
use serde_json::{Map, Value};

/// Largest number of samples with texts on one page.
const MOST_SHOWN: usize = 120;
/// Longest text that is shown, in characters.
const LONGEST: usize = 1500;

/// A round of rewriting.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Round {
    step: u64,
    chosen: u64,
    drawn: u64,
    replaced: u64,
    pub(super) samples: Vec<Rewrite>,
    /// Number of samples with a candidate that are not shown.
    left_out: usize,
}

/// A sample for which a candidate was generated.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rewrite {
    pub(super) id: String,
    /// The question of the sample, if its data still exist.
    pub(super) prompt: String,
    /// `replaced`, or the reason why it was not.
    decision: String,
    replaced: bool,
    average: String,
    old: String,
    old_score: String,
    new: String,
    new_score: String,
}

/// The rounds in the lines of a log, with the texts of the first samples of each; `runs` is the number of runs on the
/// page.
pub(super) fn rounds(lines: &[Map<String, Value>], runs: usize) -> Vec<Round> {
    let mut room = MOST_SHOWN / runs.max(1);
    let (mut rounds, mut round) = (vec![], Round::default());
    for line in lines {
        match line.get("kind").and_then(Value::as_str) {
            Some("sample") if line.contains_key("new") => {
                if room > 0 {
                    round.samples.push(rewrite(line));
                    room -= 1;
                } else {
                    round.left_out += 1;
                }
            }
            Some("round") => {
                let count = |key: &str| line.get(key).and_then(Value::as_u64).unwrap_or(0);
                round.step = count("step");
                round.chosen = count("chosen");
                round.drawn = count("drawn");
                round.replaced = count("replaced");
                // Show replaced samples first.
                round.samples.sort_by_key(|sample| !sample.replaced);
                rounds.push(std::mem::take(&mut round));
            }
            _ => {}
        }
    }
    rounds
}

fn rewrite(line: &Map<String, Value>) -> Rewrite {
    let text = |key: &str| line.get(key).map(plain).unwrap_or_default();
    let side = |key: &str| {
        let side = &line.get(key).unwrap_or(&Value::Null);
        let score = side["score"]
            .as_f64()
            .map_or_else(String::new, |score| format!("{score:.3}"));
        (
            shortened(side["text"].as_str().unwrap_or_default(), LONGEST),
            score,
        )
    };
    let ((old, old_score), (new, new_score)) = (side("old"), side("new"));
    let replaced = text("decision") == "replaced";
    Rewrite {
        id: text("id"),
        prompt: String::new(),
        decision: if replaced || !line.contains_key("reason") {
            text("decision")
        } else {
            format!("{}: {}", text("decision"), text("reason"))
        },
        replaced,
        average: line
            .get("average")
            .and_then(Value::as_f64)
            .map_or_else(String::new, |average| format!("{average:.2}")),
        old,
        old_score,
        new,
        new_score,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_round_has_its_samples_the_replaced_ones_first() {
        let lines: Vec<Map<String, Value>> = [
            json!({"kind": "header", "format_version": 1}),
            json!({"kind": "sample", "step": 4, "id": "a", "decision": "kept", "reason": "empty", "average": 1.5,
                   "old": {"text": "x", "score": 2.0}, "new": {"text": ""}}),
            json!({"kind": "sample", "step": 4, "id": "b", "decision": "kept", "reason": "not-drawn", "average": 1.0}),
            json!({"kind": "sample", "step": 4, "id": "c", "decision": "replaced", "average": 1.0,
                   "old": {"text": "y", "score": 2.0}, "new": {"text": "z", "score": 0.5}}),
            json!({"kind": "round", "step": 4, "chosen": 3, "drawn": 2, "replaced": 1}),
        ]
        .into_iter()
        .filter_map(|line| line.as_object().cloned())
        .collect();
        let rounds = rounds(&lines, 1);
        assert_eq!(rounds.len(), 1);
        assert_eq!((rounds[0].step, rounds[0].chosen, rounds[0].replaced), (4, 3, 1));
        let ids: Vec<_> = rounds[0].samples.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["c", "a"]);
        assert_eq!(rounds[0].samples[1].decision, "kept: empty");
        assert!(super::rounds(&lines, 121)[0].samples.is_empty());
        assert_eq!(super::rounds(&lines, 121)[0].left_out, 2);
    }
}
