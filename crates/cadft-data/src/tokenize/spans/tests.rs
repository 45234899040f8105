//! The number of renderings of a conversation.

use std::fmt::Write;

use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{Conversation, MOST_RENDERINGS};
use crate::row::Message;
use crate::tokenizer::{Tokenizer, TokenizerFiles};

/// `{}` is replaced by a template's handling of an answer.
const TURNS: &str = "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{}{% else %}{{ m.content }}{% endif %}\
    {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

const PLAIN: &str = "{{ m.content }}</s>";
const MARKED: &str = "{% generation %}{{ m.content }}</s>{% endgeneration %}";
const CALLS: &str = "{{ m.content }}{% for call in m.tool_calls or [] %}{{ call | tojson }}{% endfor %}</s>";
const MARKED_CALLS: &str = "{% generation %}{{ m.content }}{% for call in m.tool_calls or [] %}{{ call | tojson }}{% endfor %}</s>\
    {% endgeneration %}";
/// Earlier turns are shown differently from the last one.
const LATER: &str = "{% if loop.last %}<think></think>{% endif %}{{ m.content }}</s>";
/// The template writes the length of the text, so a changed text is not located.
const CHANGED: &str = "{{ m.content | length }} {{ m.content }}</s>";

fn tokenizer(answer: &str) -> Tokenizer {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let vocab: serde_json::Map<_, _> = (bytes.iter().enumerate())
        .map(|(id, byte)| (byte.to_string(), json!(id)))
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let stop = json!({"id": vocab.len(), "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": [stop],
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": []},
    });
    let config = json!({"eos_token": "</s>", "chat_template": TURNS.replace("{}", answer)});
    Tokenizer::from_bytes(&TokenizerFiles {
        tokenizer: tokenizer.to_string().into_bytes(),
        tokenizer_config: Some(config.to_string().into_bytes()),
        ..TokenizerFiles::default()
    })
    .unwrap()
}

fn message(fields: &Value) -> Message {
    Message::from_fields(fields.as_object().unwrap().clone())
}

/// Questions and answers; with `has_calls`, a call and its result precede every answer.
fn exchanges(count: usize, has_calls: bool) -> Vec<Message> {
    let mut messages = Vec::new();
    for number in 0..count {
        messages.push(Message::new("user", &format!("question {number}")));
        if has_calls {
            let mut id = String::new();
            let _ = write!(id, "{:09x}", number * 7_919);
            let call = json!({"id": id, "type": "function",
                              "function": {"name": format!("f{}", number % 5), "arguments": {"n": number}}});
            messages.push(message(
                &json!({"role": "assistant", "content": "", "tool_calls": [call]}),
            ));
            messages.push(message(
                &json!({"role": "tool", "tool_call_id": id, "content": number.to_string()}),
            ));
        }
        messages.push(Message::new("assistant", &format!("answer {number}")));
    }
    messages
}

/// The number of trained tokens, and the number of renderings needed.
fn renderings(answer: &str, messages: &[Message]) -> Result<(usize, usize), String> {
    let tokenizer = tokenizer(answer);
    let none = serde_json::Map::new();
    let conversation = Conversation::new(messages, &[], &none, &tokenizer).unwrap();
    let turns: Vec<usize> = (0..messages.len())
        .filter(|&turn| messages[turn].is_assistant())
        .collect();
    let spans = conversation.tokenize(Some(&turns));
    let masked = spans.map_err(|error| error.to_string())?;
    let trained = masked.mask.iter().filter(|&&trained| trained).count();
    Ok((trained, conversation.renderings.get()))
}

#[test]
fn the_number_of_renderings_does_not_grow_with_the_conversation() {
    for (answer, has_calls, most) in [
        (PLAIN, false, 3),
        (MARKED, false, 1),
        (LATER, false, 4),
        (CALLS, true, 6),
        (MARKED_CALLS, true, 2),
    ] {
        let few = renderings(answer, &exchanges(10, has_calls)).unwrap();
        let many = renderings(answer, &exchanges(1000, has_calls)).unwrap();
        assert!(few.1 <= most, "{answer}: {few:?}");
        assert_eq!(few.1, many.1, "{answer}");
        assert!(many.0 > 90 * few.0, "{answer}: {few:?} {many:?}");
    }
}

#[test]
fn turns_that_need_renderings_of_their_own_are_trained_up_to_a_bound() {
    let (trained, count) = renderings(CHANGED, &exchanges(100, false)).unwrap();
    assert!(trained > 1000 && count > 300, "{trained} {count}");
    let error = renderings(CHANGED, &exchanges(1000, false)).unwrap_err();
    let expected = format!("the turns are not found after {MOST_RENDERINGS} renderings");
    assert!(error.contains(&expected), "{error}");
}
