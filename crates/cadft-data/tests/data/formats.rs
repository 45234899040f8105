//! The meaning of each format.

use cadft_data::{Columns, Content, Format, Message, Row, Source, parse_file};
use serde_json::{Value, json};

fn read(record: &Value) -> Row {
    parse_file("d.jsonl", record.to_string().as_bytes())
        .unwrap()
        .remove(0)
}

/// The turns of a conversation as JSON, and its tools.
fn conversation(row: &Row) -> (Value, &[Value]) {
    match &row.content {
        Content::Messages { messages, tools, .. } => (json!(messages), tools),
        other => panic!("{other:?}"),
    }
}

/// Reads a record with these columns and this format; it must give a single row.
fn mapped(record: &Value, format: Option<Format>, columns: &[&str]) -> Result<Row, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.jsonl");
    std::fs::write(&path, record.to_string()).unwrap();
    let source = Source {
        format,
        columns: Columns::parse(columns.iter().copied())?,
        ..Source::new(path.display().to_string())
    };
    let mut items: Vec<_> = source.rows().unwrap().collect();
    items.pop().unwrap().map_err(|problem| problem.message)
}

#[test]
fn speakers_of_sharegpt_have_roles() {
    let row = read(&json!({
        "conversations": [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "q", "train": false},
            {"from": "function_call", "value": r#"{"name": "f", "arguments": {"x": 1}}"#},
            {"from": "observation", "value": "1"},
            {"from": "gpt", "value": "a"},
            {"from": "user", "value": "r"},
            {"from": "assistant", "value": "b"},
        ],
        "tools": r#"[{"name": "f"}]"#,
    }));
    let (turns, tools) = conversation(&row);
    assert_eq!(
        turns,
        json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q", "train": false},
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
            {"role": "tool", "content": "1"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "r"},
            {"role": "assistant", "content": "b"},
        ])
    );
    assert_eq!(tools, [json!({"name": "f"})]);
}

#[test]
fn conversations_and_messages_take_either_kind_of_turn() {
    let openai = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let sharegpt = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
    let rows: Vec<_> = ["messages", "conversations"]
        .into_iter()
        .flat_map(|key| {
            [
                json!({key: openai}),
                json!({key: sharegpt}),
                json!({key: openai.to_string()}),
            ]
        })
        .map(|record| read(&record))
        .collect();
    for row in &rows {
        assert_eq!((&row.content, &row.id), (&rows[0].content, &rows[0].id));
    }
}

#[test]
fn alpaca_is_a_question_and_its_answer() {
    let row = read(&json!({"instruction": "i", "input": "x", "output": "o", "text": "rendered"}));
    let expected = json!([{"role": "user", "content": "i\nx"}, {"role": "assistant", "content": "o"}]);
    assert_eq!(conversation(&row).0, expected);
    let row = read(&json!({
        "instruction": "i", "input": "", "output": "o", "system": "s", "history": [["p", "q"]],
    }));
    let turns = ["s", "p", "q", "i", "o"];
    let (found, _) = conversation(&row);
    let contents: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| turn["content"].clone())
        .collect();
    assert_eq!(contents, turns);
}

#[test]
fn a_systems_prompt_of_the_row_comes_first_and_once() {
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let row = read(&json!({"system": "s", "messages": messages}));
    assert_eq!(conversation(&row).0[0], json!({"role": "system", "content": "s"}));
    let with_system = conversation(&row).0;
    let row = read(&json!({"system": "s", "messages": with_system}));
    assert_eq!(conversation(&row).0, with_system);
    let row = read(&json!({"system": "s", "prompt": [messages[0]], "completion": [messages[1]]}));
    assert!(
        matches!(
            row.content,
            Content::Messages {
                trained_from: Some(2),
                ..
            }
        ),
        "{row:?}"
    );
}

#[test]
fn other_columns_are_mapped() {
    let record = json!({"question": "q", "answer": "a", "key": 3, "share": 0.5});
    let columns = ["instruction=question", "output=answer", "id=key", "weight=share"];
    let row = mapped(&record, None, &columns).unwrap();
    let expected = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    assert_eq!(conversation(&row).0, expected);
    assert_eq!((row.id.as_str(), row.weight, row.answer), ("3", 0.5, None));
    let row = mapped(
        &record,
        None,
        &["prompt=question", "completion=answer", "answer=answer"],
    )
    .unwrap();
    let expected = Content::PromptCompletion {
        prompt: "q".to_owned(),
        completion: "a".to_owned(),
    };
    assert_eq!((row.content, row.answer.as_deref()), (expected, Some("a")));
}

#[test]
fn a_mapping_or_a_format_wins_over_the_keys() {
    let record = json!({"text": "t", "prompt": "p", "completion": "c", "body": "b"});
    let text = |row: Row| match row.content {
        Content::Text(text) => text,
        other => panic!("{other:?}"),
    };
    assert!(matches!(read(&record).content, Content::PromptCompletion { .. }));
    assert_eq!(text(mapped(&record, Some(Format::Text), &[]).unwrap()), "t");
    assert_eq!(text(mapped(&record, None, &["text=body"]).unwrap()), "b");
}

#[test]
fn a_column_that_is_not_there_is_an_error() {
    let record = json!({"question": "q", "answer": "a"});
    let error = |columns: &[&str]| mapped(&record, None, columns).unwrap_err();
    let message = error(&["prompt=qestion", "completion=answer"]);
    assert!(
        message.starts_with("no column `qestion` (`columns.prompt`)"),
        "{message}"
    );
    let message = error(&["prompt=question", "completion=answer", "weight=wieght"]);
    assert_eq!(message, "`columns.weight`: no row has a column `wieght`");
    assert!(error(&["promt=question"]).starts_with("unknown key `promt`, expected one of messages, "));
    assert_eq!(error(&["prompt"]), "`prompt`: expected KEY=COLUMN");
}

#[test]
fn every_field_of_a_turn_is_kept_and_null_is_not() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": null}}});
    let row = read(&json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n",
         "tool_calls": null},
        {"role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c1", "tool_calls": []},
    ]}));
    assert_eq!(
        conversation(&row).0,
        json!([
            {"role": "user", "content": "ab", "name": "n"},
            {"role": "assistant", "reasoning_content": "r", "tool_calls": [call]},
            {"role": "tool", "content": "1", "tool_call_id": "c1"},
        ])
    );
}

#[test]
fn turns_can_be_taken_out_of_training() {
    let turn = |more: Value| {
        let mut fields = json!({"role": "assistant", "content": "a"})
            .as_object()
            .unwrap()
            .clone();
        fields.extend(more.as_object().unwrap().clone());
        Message::from_fields(fields).is_trained()
    };
    assert!(turn(json!({})) && turn(json!({"train": true})) && turn(json!({"weight": 1})));
    assert!(!turn(json!({"train": false})) && !turn(json!({"weight": 0})) && !turn(json!({"weight": 0.0})));
    assert!(!Message::new("user", "q").is_trained());
}

#[test]
fn an_id_depends_on_the_content_alone() {
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let ids = [
        json!({"messages": messages}),
        json!({"weight": 2, "answer": "a", "messages": messages, "tools": []}),
        json!({"instruction": "q", "output": "a"}),
        json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
    ]
    .map(|record| read(&record).id);
    assert_eq!(ids, [ids[0].as_str(); 4]);
    assert_ne!(read(&json!({"prompt": "q", "completion": "a"})).id, ids[0]);
}
