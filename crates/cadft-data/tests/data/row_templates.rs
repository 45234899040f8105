//! The inputs that a row gives its chat template: variables, tools, calls, and the date of the run.

use cadft_data::{Mask, Row, TemplateTime, Tokenizer, parse_file, prompt_text};
use serde_json::{Map, Value, json};

use crate::fixture::{Fixture, trained};

/// A tokenizer with this template.
fn tokenizer(template: &str) -> Tokenizer {
    Fixture::new("<|im_end|>", template).build()
}

/// The rows of these records.
fn rows(records: &[Value]) -> Vec<Row> {
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    parse_file("rows.jsonl", lines.join("\n").as_bytes()).unwrap()
}

fn problems(record: &Value) -> String {
    parse_file("rows.jsonl", record.to_string().as_bytes())
        .unwrap_err()
        .to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand over what `json!` makes")]
fn record(fields: Value) -> Value {
    let mut record =
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
    record
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    record
}

/// The output of a template that writes an expression for each assistant turn.
fn shown(record: &Value, expression: &str) -> String {
    let template = format!(
        "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{% if m.role == 'assistant' %}}{{{{ {expression} }}}}{{% else %}}\
         {{{{ m.content }}}}{{% endif %}}<|im_end|>\n{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
    );
    let row = rows(std::slice::from_ref(record)).remove(0);
    // Uses the mask of all tokens, because the value need not be text of the turn.
    let text = trained(&row, &tokenizer(&template), Mask::All);
    let answer = text.rsplit_once("assistant\n").unwrap().1;
    answer.rsplit_once("<|im_end|>").unwrap().0.to_owned()
}

#[test]
fn the_variables_of_a_row_reach_its_template_before_those_of_a_recipe() {
    let template = "{{ mode }}{{ thinking_budget }}{{ unset is defined }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let recipe = Map::from_iter([
        ("mode".to_owned(), json!("recipe")),
        ("thinking_budget".to_owned(), json!(1)),
    ]);
    let tokenizer = tokenizer(template).with_template_variables(&recipe);
    let kwargs = json!({"mode": "row", "unset": null});
    let rows = rows(&[
        record(json!({"chat_template_kwargs": kwargs})),
        record(json!({"chat_template_kwargs": kwargs.to_string()})),
        record(json!({"chat_template_kwargs": null})),
        record(json!({})),
    ]);
    let texts: Vec<_> = rows
        .iter()
        .map(|row| prompt_text(row, &tokenizer).unwrap())
        .collect();
    assert_eq!(
        texts,
        ["row1Falseq", "row1Falseq", "recipe1Falseq", "recipe1Falseq"]
    );
    // Rows with different renderings have different ids.
    assert_eq!(rows[0].id, rows[1].id);
    assert_ne!(rows[0].id, rows[2].id);
    assert_eq!(rows[2].id, rows[3].id);
}

#[test]
fn variables_that_a_row_cannot_set_are_refused() {
    for (value, expected) in [
        (
            json!({"messages": []}),
            "`chat_template_kwargs.messages`: a row cannot set this variable",
        ),
        (json!({"tools": []}), "`chat_template_kwargs.tools`"),
        (
            json!([1]),
            "`chat_template_kwargs`: expected an object, found a list",
        ),
        (
            json!("no"),
            "`chat_template_kwargs`: expected an object, found a string",
        ),
    ] {
        let error = problems(&record(json!({"chat_template_kwargs": value})));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_key_that_is_null_is_absent() {
    let calls = json!([{"type": "function", "function": {"name": "f", "arguments": {}}}]);
    let record = json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": calls, "reasoning_content": null}]});
    let expression = "(m.content is defined) ~ (m.reasoning_content is defined) ~ m.content";
    assert_eq!(shown(&record, expression), "FalseFalse");
}

#[test]
fn arguments_of_a_call_reach_the_template_as_an_object() {
    let with = |call: Value| json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}]});
    let call = |arguments: Value| {
        with(json!({"type": "function", "function": {"name": "f", "arguments": arguments}}))
    };
    let expression = "m.tool_calls[0].function.arguments | tojson";
    for (arguments, expected) in [
        (json!({"city": "Oslo"}), r#"{"city": "Oslo"}"#),
        (json!(r#"{"city": "Oslo"}"#), r#"{"city": "Oslo"}"#),
        (json!(""), "{}"),
        (json!("not JSON"), "\"not JSON\""),
    ] {
        assert_eq!(shown(&call(arguments), expression), expected);
    }
    let bare = with(json!({"name": "f", "arguments": r#"{"x": 1}"#}));
    assert_eq!(shown(&bare, "m.tool_calls[0].arguments | tojson"), r#"{"x": 1}"#);
}

#[test]
fn a_template_that_needs_arguments_as_a_string_is_given_one() {
    // DeepSeek V3 appends them to a string.
    let expression = "'call ' + m.tool_calls[0].function.arguments if m.tool_calls is defined else m.content";
    for arguments in [
        json!({"city": "Zürich", "n": 1e-7}),
        json!(r#"{"city": "Zürich", "n": 1e-7}"#),
    ] {
        let record = json!({"messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": arguments}}]}]});
        assert_eq!(
            shown(&record, expression),
            r#"call {"city": "Zürich", "n": 1e-07}"#
        );
    }
}

#[test]
fn tools_in_strings_reach_the_template_as_objects() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    for tools in [
        json!([tool]),
        json!([tool.to_string()]),
        json!([tool]).to_string().into(),
    ] {
        let record = record(json!({"tools": tools}));
        assert_eq!(shown(&record, "tools[0].function.name"), "f", "{record}");
    }
}

#[test]
fn a_conversation_with_tools_is_rendered_by_the_template_for_tools() {
    let mut fixture = Fixture::chatml();
    fixture.config["chat_template"] = json!([{"name": "default", "template": "D{{ mode }}"}, {"name": "tool_use", "template": "T{{ mode }}"}]);
    let variables = Map::from_iter([("mode".to_owned(), json!("x"))]);
    let tokenizer = fixture.build().with_template_variables(&variables);
    let rows = rows(&[record(json!({})), record(json!({"tools": [{"name": "f"}]}))]);
    let texts: Vec<_> = rows
        .iter()
        .map(|row| prompt_text(row, &tokenizer).unwrap())
        .collect();
    assert_eq!(texts, ["Dx", "Tx"]);
}

#[test]
fn the_date_of_a_run_stays_what_it_was() {
    let template = "{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}";
    let time: TemplateTime = "2024-02-29T23:59:58".parse().unwrap();
    let dated = tokenizer(template).with_template_time(time);
    let row = rows(&[record(json!({}))]).remove(0);
    assert_eq!(prompt_text(&row, &dated).unwrap(), "29 Feb 2024q");
    assert_eq!(dated.template_time(), Some(time));
    assert_eq!(serde_json::to_value(time).unwrap(), json!("2024-02-29T23:59:58"));
    assert!(serde_json::from_value::<TemplateTime>(json!("yesterday")).is_err());
    // A template that does not use the date has no time to store.
    assert_eq!(tokenizer("{{ messages[0].content }}").template_time(), None);
}

#[test]
fn the_cache_is_found_again_at_the_same_date() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("rows.jsonl");
    std::fs::write(&data, record(json!({})).to_string()).unwrap();
    let source = cadft_data::Source::new(data.to_str().unwrap());
    let options = crate::fixture::options(Mask::Assistant);
    let key = |template: &str, time: &str| {
        let tokenizer = tokenizer(template).with_template_time(time.parse().unwrap());
        let mixing = cadft_data::Mixing::default();
        cadft_data::CacheKey::new(std::slice::from_ref(&source), &mixing, &tokenizer, &options).unwrap()
    };
    let (morning, evening, next) = (
        "2026-01-01T08:00:00",
        "2026-01-01T20:00:00",
        "2026-01-02T08:00:00",
    );
    let (dated, timed) = ("{{ strftime_now('%d %b') }}", "{{ strftime_now('%H:%M') }}");
    assert_eq!(key(dated, morning), key(dated, evening));
    assert_ne!(key(dated, morning), key(dated, next));
    assert_ne!(key(timed, morning), key(timed, evening));
    assert_eq!(key("x", morning), key("x", next));
}
