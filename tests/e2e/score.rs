//! `cadft score` against transformers.

use crate::CADFT;
use cadft_tests::command::{lines, run};
use cadft_tests::fixture;
use std::fs;

fn assert_scores(data: &str, expected: &str) {
    let folder = fixture("blackbox");
    let scored = run(CADFT, &folder, &["score", "--model", "model", "--data", data]).succeeded();
    let found = lines(&scored.stdout);
    let expected = lines(&fs::read_to_string(folder.join(expected)).expect("the fixture exists"));
    assert_eq!(found.len(), expected.len(), "{data}: one line a sample");
    for (found, expected) in found.iter().zip(&expected) {
        for key in ["id", "tokens", "supervised"] {
            assert_eq!(found[key], expected[key], "{data}: {key}");
        }
        for key in ["nll", "z", "weight"] {
            let (ours, theirs) = (
                found[key].as_f64().expect(key),
                expected[key].as_f64().expect(key),
            );
            let error = (ours - theirs).abs();
            assert!(
                error < 2e-5 * theirs.abs().max(1.0),
                "{data} {}: {key} {ours} against {theirs}",
                found["id"]
            );
        }
    }
}

#[test]
fn messages_score_as_in_transformers() {
    assert_scores("messages.jsonl", "score.messages.expected.jsonl");
}

#[test]
fn prompt_completion_scores_as_in_transformers() {
    assert_scores(
        "prompt_completion.jsonl",
        "score.prompt_completion.expected.jsonl",
    );
}

#[test]
fn multi_turn_scores_as_in_transformers() {
    assert_scores("eval.jsonl", "score.eval.expected.jsonl");
}
