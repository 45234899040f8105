//! The parts that a chat template does not show, and the fields that mark a turn as trained or not.

use std::collections::BTreeMap;

use cadft_data::{Mask, Part, Row, Tokenizer, check_rows};
use serde_json::{Value, json};

use crate::fixture::{Fixture, dataset, options, trained};

/// Shows everything.
const ALL: &str = "{{ tools | tojson if tools else '' }}{% for m in messages %}{{ '<|' + m.role + '|>' }}\
    {{ m.reasoning_content or '' }}{{ m.content or '' }}{{ m.tool_calls | tojson if m.tool_calls else '' }}\
    {{ m.function_call | tojson if m.function_call else '' }}</s>{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

fn row(record: &Value) -> Row {
    cadft_data::parse_file("d.jsonl", record.to_string().as_bytes())
        .unwrap()
        .remove(0)
}

fn lost(record: &Value, tokenizer: &Tokenizer) -> Vec<Part> {
    let data = dataset(&row(record), tokenizer, Mask::Assistant).unwrap();
    assert!(data.report.lost.values().all(|count| *count == 1));
    data.report.lost.into_keys().collect()
}

/// A row with every part.
fn rich(answer: &Value) -> Value {
    json!({
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "I look.", "reasoning_content": "A tool knows.", "tool_calls":
                [{"id": "call00001", "type": "function", "function": {"name": "look", "arguments": {"at": 1}}}]},
            {"role": "tool", "tool_call_id": "call00001", "content": "Rain."},
            answer,
        ]
    })
}

#[test]
fn a_part_is_lost_if_the_conversation_without_it_renders_to_the_same_text() {
    let record = rich(&json!({"role": "assistant", "content": "It rains."}));
    let without = |from: &str, to: &str| {
        assert!(ALL.contains(from), "{from}");
        Fixture::new("</s>", &ALL.replace(from, to)).build()
    };
    let cases = [
        ("</s>", "</s>", vec![]),
        ("{{ tools | tojson if tools else '' }}", "", vec![Part::Tools]),
        ("{{ m.reasoning_content or '' }}", "", vec![Part::Reasoning]),
        (
            "{{ m.tool_calls | tojson if m.tool_calls else '' }}",
            "",
            vec![Part::ToolCalls],
        ),
        (
            "m.content or ''",
            "m.content if not m.tool_calls else ''",
            vec![Part::TextBesideCalls],
        ),
        (
            "m.content or ''",
            "m.content if m.role != 'tool' else ''",
            vec![Part::ToolAnswers],
        ),
        (
            "m.content or ''",
            "m.content if m.role != 'system' else ''",
            vec![Part::System],
        ),
        (
            "m.content or ''",
            "m.content if m.role != 'user' else ''",
            vec![Part::User],
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(lost(&record, &without(from, to)), expected, "{from} {to}");
    }
    // ChatML's template shows only roles and texts.
    let found = lost(&record, &Fixture::chatml().build());
    assert_eq!(found, [Part::Tools, Part::ToolCalls, Part::Reasoning]);
}

#[test]
fn a_developers_text_that_is_not_shown_is_counted() {
    let record = json!({"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "q"},
                                     {"role": "assistant", "content": "a"}]});
    let template = "{% for m in messages if m.role != 'developer' %}{{ '<|' + m.role + '|>' + m.content + '</s>' }}{% endfor %}\
                    {% if add_generation_prompt %}<|assistant|>{% endif %}";
    let rows = [row(&record), row(&record)];
    let options = cadft_data::TokenizeOptions::new(64, Mask::Assistant);
    let report = cadft_data::tokenize(&rows, &Fixture::new("</s>", template).build(), &options)
        .unwrap()
        .report;
    assert_eq!(report.lost, BTreeMap::from([(Part::Developer, 2)]));
    let (message, hint) = Part::Developer.warning(2, 2);
    assert_eq!(
        message,
        "the chat template does not show the `developer` text of 2 of 2 rows"
    );
    assert!(hint.contains("`system`"), "{hint}");
    assert_eq!(
        serde_json::to_value(&report).unwrap()["lost"],
        json!({"developer": 2})
    );
}

/// A conversation of two exchanges; the first answer has these fields.
fn flagged(fields: &Value) -> Value {
    let mut turn = json!({"role": "assistant", "content": "b"});
    turn.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    json!({"messages": [{"role": "user", "content": "a"}, turn, {"role": "user", "content": "c"},
                        {"role": "assistant", "content": "d"}]})
}

#[test]
fn turns_that_other_tools_mark_as_not_trained_are_context() {
    let tokenizer = Fixture::new("</s>", ALL).build();
    let first = |fields: Value| {
        let text = trained(&row(&flagged(&fields)), &tokenizer, Mask::Assistant);
        assert!(text.ends_with("<|assistant|>[d</s>]"), "{text}");
        text.contains("[b</s>]")
    };
    for key in ["training", "trainable", "loss", "loss_mask", "loss_scale"] {
        for (value, is_trained) in [
            (json!(false), false),
            (json!(0), false),
            (json!(0.0), false),
            (json!(true), true),
            (json!(1), true),
            (Value::Null, true),
        ] {
            assert_eq!(first(json!({ key: value })), is_trained, "{key}: {value}");
        }
    }
    assert!(!first(json!({"train": false, "loss": false, "weight": 0})));
}

#[test]
fn a_field_about_training_that_is_unclear_is_refused_by_name() {
    let problem = |fields: Value| {
        let error = cadft_data::parse_file("d.jsonl", flagged(&fields).to_string().as_bytes());
        error.unwrap_err().to_string()
    };
    for (fields, expected) in [
        (
            json!({"train": true, "loss": false}),
            "`loss`: `false`, but `train` is `true`",
        ),
        (
            json!({"weight": 1, "loss_mask": 0}),
            "`loss_mask`: `0`, but `weight` is `1`",
        ),
        (
            json!({"loss_scale": 0.5}),
            "`loss_scale`: expected true, false, 0 or 1, found 0.5",
        ),
        (
            json!({"training": "no"}),
            "`training`: expected true, false, 0 or 1, found \"no\"",
        ),
        (
            json!({"train_detail": [{"begin_offset": 0, "end_offset": 1, "train": false}]}),
            "`train_detail`: not understood",
        ),
        (json!({"masked": true}), "`masked`: not understood"),
    ] {
        let error = problem(fields);
        assert!(error.contains(&format!("`messages[1]`: {expected}")), "{error}");
    }
}

#[test]
fn a_question_that_is_to_be_trained_is_refused() {
    let mut record = flagged(&json!({}));
    record["messages"][0]["training"] = json!(true);
    let error = dataset(&row(&record), &Fixture::new("</s>", ALL).build(), Mask::Assistant).unwrap_err();
    let expected = "`messages[0].training`: only assistant turns can be trained, this one is of `user`";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn fields_about_training_are_not_shown_to_the_template() {
    let template = "{% for m in messages %}{{ m | tojson }}</s>{% endfor %}";
    let record = flagged(&json!({"training": true, "loss": true, "weight": 1, "name": "n"}));
    let text = trained(&row(&record), &Fixture::new("</s>", template).build(), Mask::All);
    assert!(
        text.contains("{\"role\": \"assistant\", \"content\": \"b\", \"name\": \"n\"}"),
        "{text}"
    );
}

#[test]
fn a_row_without_anything_to_train_is_told() {
    let question = json!({"messages": [{"role": "user", "content": "q"}]});
    let context = json!({"messages": [{"role": "user", "content": "q"},
                                      {"role": "assistant", "content": "a", "train": false}]});
    let rows = [
        &question,
        &flagged(&json!({})),
        &context,
        &json!({"prompt": "p", "completion": "c"}),
    ]
    .map(row);
    let tokenizer = Fixture::new("</s>", ALL).build();
    for tokenizer in [None, Some(&tokenizer)] {
        let found = check_rows(&rows, tokenizer, &options(Mask::Assistant)).unwrap();
        assert_eq!(
            found,
            [
                Err("nothing to train: the conversation has no assistant turn".to_owned()),
                Ok(Vec::new()),
                Err("nothing to train: every assistant turn is taken out of training".to_owned()),
                Ok(Vec::new()),
            ]
        );
    }
    let found = check_rows(&rows[..1], Some(&tokenizer), &options(Mask::All)).unwrap();
    assert_eq!(found, [Ok(Vec::new())]);
    // The marks leave out the last answer.
    let template = "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}{% generation %}{{ m.content + '</s>' }}\
                    {% endgeneration %}{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}";
    let marked = Fixture::new("</s>", template).build();
    let found = check_rows(&rows[1..2], Some(&marked), &options(Mask::LastTurn)).unwrap();
    assert_eq!(
        found,
        [Err("nothing to train: the mask selects no token".to_owned())]
    );
}
