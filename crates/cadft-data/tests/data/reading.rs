//! The rows that are read, and the messages about malformed ones.

use std::fs;
use std::path::Path;

use cadft_data::{Content, DataError, Place, Problem, Row, parse_file, read_file, with_hints};
use proptest::prelude::*;

fn read(text: &str) -> Vec<Row> {
    parse_file("d.jsonl", text.as_bytes()).unwrap()
}

fn problems(bytes: &[u8]) -> Vec<Problem> {
    match parse_file("d.jsonl", bytes) {
        Err(DataError::Invalid { problems, .. }) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn formats_mix_and_other_keys_are_ignored() {
    let rows = read(concat!(
        r#"{"messages": [{"role": "user", "content": "q", "name": "n"}, {"role": "assistant", "content": "a"}], "x": 1}"#,
        "\n",
        r#"{"prompt": "p", "completion": "c", "id": 7, "weight": 0.5, "answer": 42, "text": null}"#,
        "\n",
        r#"{"text": "t", "id": "seven", "weight": 0}"#,
        "\n",
    ));
    assert!(
        matches!(&rows[0].content, Content::Messages { messages, trained_from: None, .. } if messages.len() == 2)
    );
    assert_eq!(
        rows[1].content,
        Content::PromptCompletion {
            prompt: "p".to_owned(),
            completion: "c".to_owned()
        }
    );
    assert_eq!(rows[2].content, Content::Text("t".to_owned()));
    assert_eq!(
        (rows[1].id.as_str(), rows[1].weight, rows[1].answer.as_deref()),
        ("7", 0.5, Some("42"))
    );
    assert_eq!((rows[0].weight, rows[2].weight, rows[2].line), (1.0, 0.0, 3));
}

#[test]
fn bom_carriage_returns_and_blank_lines_are_tolerated() {
    let rows = read("\u{FEFF}{\"text\": \"a\"}\r\n\r\n  \n{\"text\": \"b\"}");
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn messages_come_before_a_prompt_that_repeats_them() {
    let rows = read(r#"{"prompt": "q", "messages": [{"role": "user", "content": "q"}], "prompt_id": "1"}"#);
    assert!(matches!(rows[0].content, Content::Messages { .. }));
}

#[test]
fn a_prompt_and_completion_of_messages_train_the_completion() {
    let rows = read(
        r#"{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
    );
    assert!(
        matches!(&rows[0].content, Content::Messages { messages, trained_from: Some(1), .. } if messages.len() == 2)
    );
}

#[test]
fn content_in_parts_is_text() {
    let parts = r#"[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]"#;
    let rows = read(&format!(
        r#"{{"messages": [{{"role": "user", "content": {parts}}}]}}"#
    ));
    assert!(matches!(&rows[0].content, Content::Messages { messages, .. } if messages[0].content() == "ab"));
}

#[test]
fn what_other_programs_read_is_read() {
    let messages = |text: &str| match &read(text)[0].content {
        Content::Messages { messages, tools, .. } => (messages.clone(), tools.clone()),
        other => panic!("{other:?}"),
    };
    for tools in [r#""""#, r#"" ""#, r#""null""#, "null", "[]", r#""[]""#] {
        let row = format!(r#"{{"tools": {tools}, "messages": [{{"role": "assistant", "content": "a"}}]}}"#);
        assert_eq!(messages(&row).1, Vec::<serde_json::Value>::new(), "{tools}");
    }
    let (turns, _) = messages(concat!(
        r#"{"messages": [{"role": "user", "content": [{"text": "a"}, {"type": null, "text": "b"}]}, "#,
        r#"{"role": "assistant", "content": "", "train": false}, {"role": "assistant", "weight": 0}, "#,
        r#"{"role": "model", "content": "c"}]}"#,
    ));
    let shown: Vec<_> = turns
        .iter()
        .map(|turn| (turn.role(), turn.content(), turn.is_trained()))
        .collect();
    let expected = [
        ("user", "ab", false),
        ("assistant", "", false),
        ("assistant", "", false),
        ("assistant", "c", true),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_key_that_is_null_is_absent() {
    let with = r#"{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}]}"#;
    let without =
        r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}], "name": null}]}"#;
    assert_eq!(read(with), read(without));
}

#[test]
fn turns_of_tool_calls_need_no_text() {
    let rows = read(concat!(
        r#"{"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "q"}, "#,
        r#"{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}]}"#,
    ));
    assert!(
        matches!(&rows[0].content, Content::Messages { messages, tools, .. }
        if messages[1].field("tool_calls").is_some() && tools.len() == 1)
    );
}

#[test]
fn a_row_without_an_id_is_named_after_its_content() {
    let rows = read(concat!(
        r#"{"prompt": "p", "completion": "c", "weight": 2}"#,
        "\n",
        r#"{ "completion":"c","prompt" : "p" , "other": 1}"#,
    ));
    assert_eq!(rows[0].id, rows[1].id);
    // echo -n '{"completion":"c","prompt":"p"}' | sha256sum
    assert_eq!(rows[0].id, "f99316a91c82852d");
    assert_ne!(rows[0].id, read(r#"{"text": "pc"}"#)[0].id);
}

#[test]
fn all_problems_of_a_file_are_reported_together() {
    let found = problems(
        b"{\"messages\": [{\"role\": \"user\"}, 1], \"weight\": -1}\n{\"text\": \"ok\"}\nnope\n\n[]\n",
    );
    assert_eq!(
        found.iter().map(|problem| problem.place).collect::<Vec<_>>(),
        [1, 1, 1, 3, 5].map(Place::Line)
    );
}

#[test]
fn a_long_list_of_problems_is_cut_and_counted() {
    let error = with_hints(&parse_file("d.jsonl", "[]\n".repeat(25).as_bytes()).unwrap_err());
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 22);
    assert_eq!(lines[0], "d.jsonl:1: expected a JSON object, found a list");
    assert_eq!(lines[20], "... and 5 more");
    assert!(lines[21].starts_with("hint: `cadft data validate` lists"));
}

#[test]
fn an_empty_file_is_an_error() {
    for text in ["", "\n\r\n", "\u{FEFF}"] {
        let error = with_hints(&parse_file("d.jsonl", text.as_bytes()).unwrap_err());
        assert!(error.starts_with("d.jsonl: no rows\nhint: "), "{error}");
    }
}

#[test]
fn files_are_named_in_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.jsonl");
    let missing = with_hints(&read_file(&path).unwrap_err());
    let (what, hint) = missing.split_once("\nhint: ").expect("a hint");
    assert_eq!(what, format!("cannot read `{}`", path.display()));
    assert!(hint.contains("current directory"), "{hint}");
    fs::write(&path, "{\"text\": \"a\"}\n{\n").unwrap();
    let error = with_hints(&read_file(&path).unwrap_err());
    assert!(
        error.starts_with(&format!("{}:2: invalid JSON", path.display())),
        "{error}"
    );
    fs::write(&path, "{\"text\": \"a\"}\n").unwrap();
    assert_eq!(read_file(&path).unwrap().len(), 1);
    assert!(read_file(Path::new(directory.path())).is_err());
}

proptest! {
    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_file("d.jsonl", &bytes);
    }

    #[test]
    fn strings_survive_reading(prompt in "\\PC{0,30}", completion in "\\PC{1,30}") {
        let line = serde_json::json!({"prompt": prompt, "completion": completion}).to_string();
        let expected = Content::PromptCompletion { prompt, completion };
        prop_assert_eq!(&read(&line)[0].content, &expected);
    }
}
