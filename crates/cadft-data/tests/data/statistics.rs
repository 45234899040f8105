//! Statistics about data.

use std::fs;

use cadft_data::{Mask, Source, Stats, TokenizeOptions, stats};
use serde_json::json;

use crate::fixture::{Fixture, options};

/// Statistics of two files of prompts and completions, with one token for each character and one for the end.
fn statistics(files: [&[(&str, &str)]; 2], max_length: usize) -> Stats {
    let directory = tempfile::tempdir().unwrap();
    let sources: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(index, rows)| {
            let path = directory.path().join(format!("{index}.jsonl"));
            let line = |(prompt, completion): &(&str, &str)| {
                format!("{}\n", json!({"prompt": prompt, "completion": completion}))
            };
            fs::write(&path, rows.iter().map(line).collect::<String>()).unwrap();
            Source::new(path.display().to_string())
        })
        .collect();
    let options = TokenizeOptions {
        max_length,
        ..options(Mask::Completion)
    };
    stats(&sources, &Fixture::chatml().build(), &options).unwrap()
}

#[test]
fn rows_are_counted_by_what_becomes_of_them() {
    // Lengths 3, 7 (cut to 5), 8 (dropped) and 3 (a duplicate); then 3 (a duplicate again) and 5.
    let first: &[_] = &[("1", "2"), ("12", "3456"), ("123456", "7"), ("1", "2")];
    let second: &[_] = &[("1", "2"), ("12", "34")];
    let stats = statistics([first, second], 5);
    let [a, b] = stats.sources.as_slice() else {
        panic!("{stats:?}");
    };
    assert_eq!(
        (a.rows, a.kept, a.truncated, a.dropped.too_long, a.duplicates),
        (4, 3, 1, 1, 1),
        "{a:?}"
    );
    assert_eq!(
        (b.rows, b.kept, b.truncated, b.dropped.total(), b.duplicates),
        (2, 2, 0, 0, 1),
        "{b:?}"
    );
    assert_eq!((a.tokens, a.supervised), (3 + 5 + 3, 2 + 3 + 2));
    assert_eq!((a.lengths.min, a.lengths.p50, a.lengths.max), (3, 3, 8));
    let total = &stats.total;
    assert_eq!((total.rows, total.kept, total.duplicates), (6, 5, 2));
    assert_eq!(
        (total.tokens, total.supervised),
        (a.tokens + b.tokens, a.supervised + b.supervised)
    );
    let share = total.supervised as f64 / total.tokens as f64;
    assert_eq!(total.supervised_share, share);
    assert_eq!(stats.histogram.iter().map(|bar| bar.rows).sum::<usize>(), 6);
}

#[test]
fn what_the_chat_template_does_not_show_is_counted_by_source() {
    let directory = tempfile::tempdir().unwrap();
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": {}}}]);
    let messages = json!([{"role": "user", "content": "q"},
                          {"role": "assistant", "content": "a", "reasoning_content": "because"}]);
    let rows = [
        json!({"messages": messages}),
        json!({"messages": messages, "tools": tools}),
        json!({"messages": [messages[0], {"role": "assistant", "content": "a"}]}),
    ];
    let paths = [&rows[..], &rows[..1]].map(|rows| {
        let path = directory.path().join(format!("{}.jsonl", rows.len()));
        fs::write(
            &path,
            rows.iter().map(|row| format!("{row}\n")).collect::<String>(),
        )
        .unwrap();
        Source::new(path.display().to_string())
    });
    let stats = stats(&paths, &Fixture::chatml().build(), &options(Mask::Assistant)).unwrap();
    let lost = |source: &cadft_data::SourceStats| serde_json::to_value(&source.lost).unwrap();
    assert_eq!(lost(&stats.sources[0]), json!({"tools": 1, "reasoning": 2}));
    assert_eq!(lost(&stats.sources[1]), json!({"reasoning": 1}));
    assert_eq!(lost(&stats.total), json!({"tools": 1, "reasoning": 3}));
}
