//! Conversion keeps everything that is trained, or reports why it cannot.

use std::fs;
use std::path::Path;

use cadft_data::{Content, Format, Row, Source, convert, parse_file, with_hints};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Writes records, converts them, and reads the result.
fn converted(records: &[Value], format: Format, name: &str) -> Result<Vec<Row>, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in.jsonl");
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    fs::write(&path, lines).unwrap();
    let out = directory.path().join(name);
    let source = Source::new(path.display().to_string());
    if let Err(error) = convert(&[source], format, &out) {
        assert_eq!(
            fs::read_dir(&directory).unwrap().count(),
            1,
            "nothing is left of what failed"
        );
        return Err(with_hints(&error));
    }
    let source = Source {
        format: Some(format),
        ..Source::new(out.display().to_string())
    };
    Ok(source.rows().unwrap().collect::<Result<_, _>>().unwrap())
}

fn rows(records: &[Value]) -> Vec<Row> {
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    parse_file("in.jsonl", lines.as_bytes()).unwrap()
}

/// The trained turns with their roles, texts and all other fields.
fn learned(row: &Row) -> Value {
    let content = match &row.content {
        Content::Messages {
            messages,
            tools,
            trained_from,
        } => {
            let turns = messages.iter().enumerate().map(|(index, message)| {
                let mut fields: Map<_, _> = message.fields().clone();
                fields.retain(|key, value| key != "train" && !value.is_null());
                let is_trained = message.is_trained() && index >= trained_from.unwrap_or(0);
                fields.insert("trained".to_owned(), json!(is_trained));
                fields
            });
            json!([turns.collect::<Vec<_>>(), tools])
        }
        Content::PromptCompletion { prompt, completion } => json!([prompt, completion]),
        Content::Text(text) => json!(text),
    };
    json!([row.id, row.weight, row.answer, content])
}

const NAMES: [&str; 8] = [
    "out.jsonl",
    "out.json",
    "out.csv",
    "out.tsv",
    "out.parquet",
    "out.jsonl.gz",
    "out.json.zst",
    "out.csv.gz",
];

fn plain() -> Value {
    json!({"id": "plain", "weight": 0.5, "answer": "a\n\"b\", c", "messages": [
        {"role": "system", "content": " s\r\n"}, {"role": "user", "content": "q, \"r\"\n世界"},
        {"role": "assistant", "content": "null"}]})
}

fn pairs() -> Value {
    json!({"messages": [
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]})
}

fn partly() -> Value {
    json!({"prompt": [
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}],
        "completion": [{"role": "assistant", "content": "b"}]})
}

fn tools() -> Value {
    json!({"tools": [{"name": "f", "parameters": {}}], "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": null, "y": []}}}]},
        {"role": "tool", "content": "1", "name": "f"}, {"role": "assistant", "content": "a", "reasoning_content": "r"}]})
}

#[test]
fn every_format_in_every_file_reads_back_the_same() {
    let cases = [
        (Format::Messages, vec![plain(), pairs(), partly(), tools()]),
        (Format::Conversations, vec![plain(), pairs(), partly(), tools()]),
        (Format::Alpaca, vec![plain(), pairs()]),
        (
            Format::PromptCompletion,
            vec![
                json!({"prompt": "", "completion": "c"}),
                json!({"prompt": "[1]", "completion": "\""}),
            ],
        ),
        (
            Format::Text,
            vec![
                json!({"text": "t\n"}),
                json!({"text": "\"u\"", "id": "1", "weight": 2}),
            ],
        ),
    ];
    for (format, records) in cases {
        for name in NAMES {
            let found =
                converted(&records, format, name).unwrap_or_else(|error| panic!("{format} {name}: {error}"));
            let before: Vec<_> = rows(&records).iter().map(learned).collect();
            assert_eq!(
                found.iter().map(learned).collect::<Vec<_>>(),
                before,
                "{format} {name}"
            );
        }
    }
}

#[test]
fn prompts_of_messages_go_into_files_with_types() {
    let records = [plain(), partly()];
    for name in ["out.jsonl", "out.parquet"] {
        let found = converted(&records, Format::PromptCompletion, name).unwrap();
        let before: Vec<_> = rows(&records).iter().map(learned).collect();
        assert_eq!(found.iter().map(learned).collect::<Vec<_>>(), before, "{name}");
    }
    let error = converted(&records, Format::PromptCompletion, "out.csv").unwrap_err();
    assert!(
        error.contains("in.jsonl:1: as `prompt-completion` it would lose"),
        "{error}"
    );
}

#[test]
fn what_would_be_lost_is_refused_with_its_line_and_a_reason() {
    let strings = json!({"prompt": "p", "completion": "c"});
    let text = json!({"text": "t"});
    let odd = json!({"messages": [{"role": "user", "content": "q"}, {"role": "user", "content": "r"}]});
    let ids = json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f"}}]}]});
    let both = json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "tool_calls": [{"name": "f"}]}]});
    let several = json!({"prompt": [{"role": "user", "content": "q"}], "completion": [
        {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]});
    let cases = [
        (strings.clone(), Format::Messages, "have no turns"),
        (strings, Format::Text, "the prompt would be trained too"),
        (text.clone(), Format::Alpaca, "no turns and no prompt"),
        (text, Format::PromptCompletion, "no turns and no prompt"),
        (pairs(), Format::Text, "only under a chat template"),
        (
            pairs(),
            Format::PromptCompletion,
            "lose which of its turns are trained",
        ),
        (partly(), Format::Alpaca, "lose which of its turns are trained"),
        (
            tools(),
            Format::Alpaca,
            "pairs of a user's and an assistant's turn only",
        ),
        (
            odd.clone(),
            Format::Alpaca,
            "pairs of a user's and an assistant's turn only",
        ),
        (odd, Format::PromptCompletion, "no assistant turn to complete"),
        (ids, Format::Conversations, "lose some of its fields"),
        (
            both,
            Format::Conversations,
            "no turns with both text and tool calls",
        ),
        (several, Format::Messages, "lose which of its turns are trained"),
    ];
    for (record, format, reason) in cases {
        let good = match format {
            Format::Text => json!({"text": "good"}),
            _ => plain(),
        };
        let error = converted(&[good, record.clone()], format, "out.jsonl").unwrap_err();
        assert!(
            error.contains("in.jsonl:2: ") && error.contains(reason),
            "{record}\n{error}"
        );
        assert!(!error.contains("in.jsonl:1: "), "{error}");
    }
}

#[test]
fn values_of_any_types_survive_parquet() {
    let turn = |extra: Value| json!({"messages": [{"role": "user", "content": "q", "extra": extra}]});
    let one_type: [&[Value]; 6] = [
        &[json!(1), json!(9_007_199_254_740_993_i64)],
        &[json!(1.5), json!(1.0)],
        &[json!(u64::MAX)],
        &[json!([]), json!([])],
        &[json!({}), json!({"a": null})],
        &[json!(true)],
    ];
    let mixed = [
        json!("a"),
        json!(1),
        json!(1.5),
        json!("1"),
        json!([1, "b"]),
        json!({"c": [null]}),
        json!(false),
    ];
    for extras in one_type.into_iter().chain([&mixed[..]]) {
        let records: Vec<_> = extras.iter().cloned().map(turn).collect();
        let found = converted(&records, Format::Messages, "out.parquet").unwrap();
        let shown = |rows: &[Row]| {
            rows.iter()
                .map(|row| learned(row).to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&found), shown(&rows(&records)), "{extras:?}");
    }
}

#[test]
fn an_ending_that_says_nothing_is_refused() {
    for name in ["out.txt", "out", "out.parquet.gz", "out.gz"] {
        let error = converted(&[plain()], Format::Messages, name).unwrap_err();
        assert!(
            error.contains(name) && error.contains("hint: one of .jsonl"),
            "{error}"
        );
    }
    let missing = Path::new("/nowhere/at/all/out.jsonl");
    assert!(convert(&[Source::new("/nowhere.jsonl")], Format::Text, missing).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_survives_any_file(texts in prop::collection::vec("\\PC{1,20}|[\"\r\n,\t\\\\ ]{1,8}", 1..6), kind in 0..NAMES.len()) {
        let records: Vec<_> = texts
            .iter()
            .map(|text| json!({"prompt": text, "completion": format!("{text}.")}))
            .collect();
        let found = converted(&records, Format::PromptCompletion, NAMES[kind]).unwrap();
        let before: Vec<_> = rows(&records).iter().map(learned).collect();
        prop_assert_eq!(found.iter().map(learned).collect::<Vec<_>>(), before);
    }
}
