//! Templates that mark generated text, turns that are not trained, and the templates of this crate.

use cadft_data::{DataError, Mask, Message, Preset, Row, Tokenizer};
use serde_json::{Value, json};

use crate::fixture::{Fixture, conversation, dataset, trained};

/// Marks answers up to their stop token, and opens them differently from its generation prompt.
const MARKED: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}\
    {% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}";

const TURNS: [(&str, &str); 4] = [
    ("user", "a"),
    ("assistant", "b"),
    ("user", "c"),
    ("assistant", "d"),
];

/// The turns with these values of `train`.
fn with_train(train: [Option<Value>; 4]) -> Row {
    let mut row = conversation(&TURNS);
    let messages = TURNS.iter().zip(train).map(|((role, content), train)| {
        let mut fields = json!({"role": role, "content": content});
        if let Some(train) = train {
            fields["train"] = train;
        }
        Message::from_fields(fields.as_object().unwrap().clone())
    });
    if let cadft_data::Content::Messages { messages: all, .. } = &mut row.content {
        *all = messages.collect();
    }
    row
}

fn marked() -> Tokenizer {
    Fixture::new("<|im_end|>", MARKED).build()
}

#[test]
fn what_the_template_marks_is_trained() {
    let row = conversation(&TURNS);
    let turns = |one: &str, two: &str| {
        format!(
            "<|im_start|>user\na<|im_end|><|im_start|>assistant\n{one}<|im_start|>user\nc<|im_end|><|im_start|>assistant\n{two}"
        )
    };
    for (mask, one, two) in [
        (Mask::Assistant, "[b<|im_end|>]", "[d<|im_end|>]"),
        (Mask::LastTurn, "b<|im_end|>", "[d<|im_end|>]"),
        (Mask::Completion, "b<|im_end|>", "[d<|im_end|>]"),
    ] {
        assert_eq!(trained(&row, &marked(), mask), turns(one, two), "{mask:?}");
    }
}

#[test]
fn a_turn_can_be_left_out_of_training() {
    for tokenizer in [marked(), Fixture::chatml().build()] {
        let row = with_train([None, Some(json!(false)), None, Some(json!(true))]);
        let text = trained(&row, &tokenizer, Mask::Assistant);
        assert!(
            text.contains("assistant\nb<|im_end|>") && text.contains("assistant\n[d<|im_end|>]"),
            "{text}"
        );
        // The last turn is the last one that is not excluded.
        let row = with_train([None, None, None, Some(json!(false))]);
        let text = trained(&row, &tokenizer, Mask::LastTurn);
        assert!(
            text.contains("assistant\n[b<|im_end|>]") && text.contains("assistant\nd<|im_end|>"),
            "{text}"
        );
    }
}

#[test]
fn the_template_does_not_see_whether_a_turn_is_trained() {
    let template = "{% for m in messages %}{{ m | tojson }}</s>{% endfor %}";
    let row = with_train([Some(json!(true)), None, None, None]);
    let text = trained(&row, &Fixture::new("</s>", template).build(), Mask::All);
    assert!(!text.contains("train"), "{text}");
}

#[test]
fn a_wrong_value_of_train_is_refused_with_its_place() {
    let row = with_train([None, Some(json!("no")), None, None]);
    let error = dataset(&row, &marked(), Mask::Assistant).unwrap_err().to_string();
    assert!(
        error.contains("`messages[1].train`: expected true or false, found a string"),
        "{error}"
    );
    let row = with_train([None, Some(json!(false)), None, None]);
    let error = dataset(&row, &marked(), Mask::All).unwrap_err().to_string();
    assert!(
        error.contains("`messages[1].train`: the mask `all` trains every token"),
        "{error}"
    );
}

#[test]
fn marks_that_leave_the_stop_token_out_are_refused() {
    let template = MARKED.replace(
        "{{ m.content + '<|im_end|>' }}{% endgeneration %}",
        "{{ m.content }}{% endgeneration %}<|im_end|>",
    );
    let error = dataset(
        &conversation(&TURNS),
        &Fixture::new("<|im_end|>", &template).build(),
        Mask::Assistant,
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("marks as generated (`b`…) does not end with a stop token"),
        "{error}"
    );
}

#[test]
fn text_with_the_noncharacters_that_marks_are_made_of_is_refused() {
    let row = conversation(&[("user", "a\u{FDD0}"), ("assistant", "b")]);
    let error = dataset(&row, &marked(), Mask::Assistant).unwrap_err();
    assert!(
        matches!(error, DataError::Rows { .. }) && error.to_string().contains("U+FDD0"),
        "{error}"
    );
    // A template without marks ignores them.
    assert!(dataset(&row, &Fixture::chatml().build(), Mask::Assistant).is_ok());
}

/// A tokenizer without a chat template.
fn plain(eos: &str) -> Tokenizer {
    let mut fixture = Fixture::new(eos, "");
    fixture.config = json!({"eos_token": eos, "bos_token": "<|begin_of_text|>"});
    fixture.build()
}

#[test]
fn a_model_without_a_template_gets_one_by_name() {
    let error = dataset(&conversation(&TURNS), &plain("</s>"), Mask::Assistant).unwrap_err();
    assert!(
        error.to_string().contains("the model has no chat template"),
        "{error}"
    );
    for (preset, expected) in [
        (
            Preset::ChatMl,
            "assistant\n[b<|im_end|>]\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n",
        ),
        (
            Preset::Llama3,
            "<|end_header_id|>\n\n[b<|eot_id|>]<|start_header_id|>user<|end_header_id|>\n\nc<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n[d<|eot_id|>]",
        ),
        (
            Preset::Alpaca,
            "### Response:\n[b</s>]\n\n### Instruction:\nc\n\n### Response:\n[d</s>]",
        ),
    ] {
        let tokenizer = plain("</s>").with_preset(preset).unwrap();
        let text = trained(&conversation(&TURNS), &tokenizer, Mask::Assistant);
        assert!(text.ends_with(expected), "{preset}: {text}");
        assert_eq!(preset.name().parse(), Ok(preset));
    }
    assert!(
        "vicuna"
            .parse::<Preset>()
            .unwrap_err()
            .contains("`chatml`, `llama3`, `alpaca`")
    );
}

#[test]
fn a_preset_whose_tokens_the_tokenizer_lacks_is_refused() {
    let files = Fixture::new("</s>", "").files();
    let without: Vec<u8> = String::from_utf8(files.tokenizer.clone())
        .unwrap()
        .replace("<|im_end|>", "<|other|>")
        .into_bytes();
    let tokenizer = Tokenizer::from_bytes(&cadft_data::TokenizerFiles {
        tokenizer: without,
        ..files
    })
    .unwrap();
    let error = tokenizer.with_preset(Preset::ChatMl).unwrap_err().to_string();
    assert!(
        error.contains("the chat template `chatml` needs the token `<|im_end|>`"),
        "{error}"
    );
}
