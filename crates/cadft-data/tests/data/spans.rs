//! The trained parts of conversations in which every text is a unique word, with many templates.

mod seams;
pub(crate) mod sound;

use seams::marked_chatml;
use sound::{Word, sound};

use std::fmt::Write;

use cadft_data::{
    Content, GenerationPrompt, Mask, Message, Row, SpecialTokens, TokenizeOptions, Tokenizer, tokenize,
    with_hints,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{CHATML, Fixture, LLAMA3, dataset};
use crate::golden::handwritten;
use crate::mixed::assert_sound_or_refused;

/// Conversations. `system`, `user` and so on are texts; `calls` are calls without a text; `both` is a call beside a
/// text; `thinks` is an answer with reasoning; `thought` has reasoning within its text. `!` before a turn excludes it
/// from training.
const SHAPES: [&str; 18] = [
    "user assistant",
    "system user assistant user assistant",
    "user assistant user assistant user assistant",
    "assistant user assistant",
    "user user assistant",
    "user assistant assistant",
    "user !assistant user assistant",
    "user assistant user !assistant",
    "user assistant user",
    "system user calls tool assistant",
    "user calls tool assistant user calls tool assistant",
    "user both tool assistant",
    "user calls tool tool assistant",
    "user !calls tool assistant",
    "user thinks user thinks",
    "user thought user thought",
    "developer user assistant user assistant",
    "user calls tool thinks user assistant",
];

fn conversation(shape: &str) -> (Row, Vec<Word>, Vec<usize>) {
    let mut words = Vec::new();
    let (mut messages, mut trained) = (Vec::new(), Vec::new());
    for (message, kind) in shape.split(' ').enumerate() {
        let mut word = |part: &str| {
            let text = format!("w{part}{message}x");
            words.push(Word {
                message,
                text: text.clone(),
            });
            text
        };
        let context = kind.starts_with('!');
        let call = |word: &mut dyn FnMut(&str) -> String| {
            json!([{"id": "call00001", "type": "function",
                    "function": {"name": "look", "arguments": {"city": word("argument"), "days": 2}}}])
        };
        let mut fields = match kind.trim_start_matches('!') {
            "calls" => json!({"role": "assistant", "content": "", "tool_calls": call(&mut word)}),
            "both" => json!({"role": "assistant", "content": word("beside"), "tool_calls": call(&mut word)}),
            "thinks" => {
                json!({"role": "assistant", "reasoning_content": word("reasoning"), "content": word("answer")})
            }
            "thought" => {
                let text = format!("<think>\n{}\n</think>\n\n{}", word("reasoning"), word("answer"));
                json!({"role": "assistant", "content": text})
            }
            "tool" => {
                json!({"role": "tool", "name": "look", "tool_call_id": "call00001", "content": word("tool")})
            }
            role => json!({"role": role, "content": word(role)}),
        };
        if context {
            fields["train"] = json!(false);
        } else if fields["role"] == "assistant" {
            trained.push(message);
        }
        messages.push(Message::from_fields(fields.as_object().unwrap().clone()));
    }
    let tools = if shape.contains("tool") {
        vec![
            json!({"type": "function", "function": {"name": "look", "description": "Looks.", "parameters":
            {"type": "object", "properties": {"city": {"type": "string"}}}}}),
        ]
    } else {
        Vec::new()
    };
    let row = Row::new(Content::Messages {
        messages,
        tools,
        trained_from: None,
    });
    (row, words, trained)
}

/// The results for some templates.
#[derive(Default)]
pub(crate) struct Seen {
    faults: String,
    /// By template: the number of trained conversations, and the reasons of refused ones.
    trained: Vec<(String, usize)>,
    refused: Vec<(String, String)>,
}

impl Seen {
    /// Checks all conversations with a template.
    pub(crate) fn add(&mut self, name: &str, tokenizer: &Tokenizer) {
        let mut good = 0;
        for shape in SHAPES {
            for mask in [Mask::Assistant, Mask::LastTurn] {
                let (row, words, mut trained) = conversation(shape);
                if mask == Mask::LastTurn {
                    trained.drain(..trained.len() - 1);
                }
                match self.look(name, shape, (&row, &words, &trained, mask), tokenizer) {
                    Ok(()) => good += 1,
                    Err(refusal) => self.refused.push((format!("{name}: {shape}"), refusal)),
                }
            }
        }
        self.trained.push((name.to_owned(), good));
    }

    fn look(
        &mut self,
        name: &str,
        shape: &str,
        (row, words, trained, mask): (&Row, &[Word], &[usize], Mask),
        tokenizer: &Tokenizer,
    ) -> Result<(), String> {
        let data = tokenize(
            std::slice::from_ref(row),
            tokenizer,
            &TokenizeOptions::new(1 << 20, mask),
        )
        .map_err(|error| error.to_string())?;
        let example = &data.examples[0];
        let whole = tokenizer.decode(&example.token_ids, SpecialTokens::Keep).unwrap();
        let outcome = sound(words, trained, example, tokenizer).and_then(|found| {
            let missing = trained.iter().find(|turn| !found.contains(turn));
            let shown = |turn: usize| {
                let own = words.iter().filter(|word| word.message == turn);
                own.filter(|word| whole.contains(&word.text)).count()
            };
            match missing {
                Some(turn) => Err(format!(
                    "turn {turn} is not trained, {} of its words are shown",
                    shown(*turn)
                )),
                None => Ok(()),
            }
        });
        if let Err(what) = outcome {
            let _ = writeln!(self.faults, "{name}: {shape} ({mask:?}): {what}\n    {whole:?}");
        }
        Ok(())
    }

    /// Asserts that nothing wrong was trained, and that with most templates most conversations are trained.
    pub(crate) fn assert_sound(&self, templates: usize) {
        assert!(self.faults.is_empty(), "{}", self.faults);
        assert_eq!(self.trained.len(), templates);
        let good: usize = self.trained.iter().map(|(_, good)| good).sum();
        println!("{good} trained, {} refused", self.refused.len());
        if std::env::var_os("SHOW_REFUSED").is_some() {
            println!("{:#?}", self.refused);
        }
        assert!(good > templates * SHAPES.len(), "{good}: {:#?}", self.trained);
    }
}

#[test]
fn a_span_holds_no_text_of_another_message() {
    let (all, tokenizer) = handwritten();
    let mut seen = Seen::default();
    for (name, golden, source) in &all {
        seen.add(name, &golden.tokenizer(source, &tokenizer));
    }
    for (name, eos, template) in [("chatml", "<|im_end|>", CHATML), ("llama3", "<|eot_id|>", LLAMA3)] {
        seen.add(name, &Fixture::new(eos, template).build());
    }
    seen.assert_sound(all.len() + 2);
}

/// Writes its stop token only at the end of a conversation.
const ONE_STOP: &str = "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|model|>' }}{{ m.content }}\
    {% endfor %}{% if add_generation_prompt %}<|model|>{% else %}{{ eos_token }}{% endif %}";

/// Templates that put text of other messages into answers, each with its stop token.
const TRAPS: [(&str, &str); 8] = [
    ("one stop", ONE_STOP),
    (
        "the stop token opens the next turn",
        "{% for m in messages %}{{ '<|' + m.role + '|>' + ('</s>' if m.role != 'assistant' else '') + m.content }}{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>{% endif %}",
    ),
    (
        "the question is repeated in the answer",
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% if m.role == 'assistant' and loop.index0 > 0 %}\
         {{ messages[loop.index0 - 1].content }}</s>{% endif %}{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>{% endif %}",
    ),
    (
        "the first text ends every answer",
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% if m.role == 'assistant' %}\
         {{ messages[0].content }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    ),
    (
        "a call goes on with its answer",
        "{% for m in messages %}{% if m.role == 'assistant' %}<|model|>{{ m.content }}{% if m.tool_calls %}<call>\
         {{ m.tool_calls[0].function.arguments | tojson }}{% if loop.last %}</s>{% endif %}{% else %}</s>{% endif %}\
         {% elif m.role == 'tool' %}<answer>{{ m.content }}{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}<|model|>{% endif %}",
    ),
    (
        "all is marked",
        "{% generation %}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '</s>' }}{% endfor %}{% endgeneration %}",
    ),
    (
        "questions are marked",
        "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role != 'assistant' %}{% generation %}{{ m.content + '</s>' }}\
         {% endgeneration %}{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}",
    ),
    (
        "the next question is marked too",
        "{% for m in messages %}{% if m.role == 'assistant' %}<|model|>{% generation %}{{ m.content + '</s>' }}\
         {{ messages[loop.index].content if not loop.last else '' }}</s>{% endgeneration %}{% else %}<|user|>{{ m.content }}{% endif %}\
         {% endfor %}",
    ),
];

#[test]
fn templates_that_mix_messages_train_nothing_of_another() {
    let mut seen = Seen::default();
    for (name, template) in TRAPS {
        seen.add(name, &Fixture::new("</s>", template).build());
    }
    assert!(seen.faults.is_empty(), "{}", seen.faults);
    assert!(seen.refused.len() > 2 * SHAPES.len(), "{:?}", seen.trained);
}

fn error(row: &Row, template: &str, mask: Mask) -> String {
    let tokenizer = Fixture::new("</s>", template).build();
    dataset(row, &tokenizer, mask).unwrap_err().to_string()
}

fn row(messages: &Value) -> Row {
    let record = json!({ "messages": messages });
    cadft_data::parse_file("d.jsonl", record.to_string().as_bytes())
        .unwrap()
        .remove(0)
}

#[test]
fn a_turn_whose_stop_token_comes_after_the_next_message_is_refused() {
    let (two, ..) = conversation("user assistant user assistant");
    let (context, ..) = conversation("user assistant user !assistant");
    for (row, mask) in [
        (&two, Mask::Assistant),
        (&context, Mask::Assistant),
        (&context, Mask::LastTurn),
    ] {
        let error = error(row, ONE_STOP, mask);
        assert!(
            error.contains("`messages[1]`: the assistant turn does not end with a stop token (`</s>`)"),
            "{error}"
        );
    }
    let tokenizer = Fixture::new("</s>", ONE_STOP).build();
    let text = crate::fixture::trained(&two, &tokenizer, Mask::LastTurn);
    assert!(text.ends_with("wuser2x<|model|>[wassistant3x</s>]"), "{text}");
}

#[test]
fn a_trained_turn_that_holds_nothing_but_its_stop_is_refused() {
    let call = json!({"name": "look", "arguments": {"city": "Oslo"}});
    for calls in [
        json!({"tool_calls": [{"type": "function", "function": call}]}),
        json!({"function_call": call}),
    ] {
        let mut turn = json!({"role": "assistant", "content": ""});
        turn.as_object_mut()
            .unwrap()
            .extend(calls.as_object().unwrap().clone());
        let key = calls.as_object().unwrap().keys().next().unwrap();
        let messages = json!([{"role": "user", "content": "q"}, turn]);
        for tokenizer in [Fixture::chatml().build(), marked_chatml()] {
            let error = with_hints(&dataset(&row(&messages), &tokenizer, Mask::Assistant).unwrap_err());
            let expected = format!("`messages[1]`: the chat template does not show the `{key}` of this turn");
            assert!(error.contains(&expected) && error.contains("\nhint: "), "{error}");
        }
        // As context it need not be an answer.
        let mut messages = messages;
        messages[1]["train"] = json!(false);
        messages.as_array_mut().unwrap().extend([
            json!({"role": "user", "content": "r"}),
            json!({"role": "assistant", "content": "a"}),
        ]);
        assert!(dataset(&row(&messages), &Fixture::chatml().build(), Mask::Assistant).is_ok());
    }
}

#[test]
fn an_answer_of_template_text_alone_is_refused_too() {
    let turns = "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' %}ANSWER{% else %}\
                 {{ m.content | length }}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    let answer = "<think></think>{{ m.content }}</s>";
    for answer in [
        answer.to_owned(),
        format!("{{% generation %}}{answer}{{% endgeneration %}}"),
    ] {
        let (row, ..) = conversation("user calls tool assistant");
        let error = error(&row, &turns.replace("ANSWER", &answer), Mask::Assistant);
        assert!(
            error.contains("`messages[1]`: the chat template does not show the `tool_calls`"),
            "{error}"
        );
        // Answers with a text are trained.
        let (row, ..) = conversation("user assistant user assistant");
        let tokenizer = Fixture::new("</s>", &turns.replace("ANSWER", &answer)).build();
        let text = crate::fixture::trained(&row, &tokenizer, Mask::Assistant);
        assert_eq!(
            text,
            "<|user|>7wuser0x<|assistant|>[<think></think>wassistant1x</s>]<|user|>7wuser2x<|assistant|>\
             [<think></think>wassistant3x</s>]"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn random_conversations_under_random_templates_are_sound_or_refused(bytes in prop::collection::vec(any::<u8>(), 12..80)) {
        assert_sound_or_refused(&bytes);
    }
}

#[test]
fn a_turn_is_not_looked_for_inside_the_text_of_another() {
    // The generation prompt is a space, and an earlier answer spells out the stop token.
    let template = "{% for m in messages %}{{ m.content | length }} {{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}\
                    </s>{% endfor %}{% if add_generation_prompt %} {% endif %}";
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "secret</s>", "train": false},
        {"role": "user", "content": "r"}, {"role": "assistant", "content": "", "tool_calls":
            [{"type": "function", "function": {"name": "look", "arguments": {"city": "Oslo"}}}]}]);
    let row = row(&messages);
    let tokenizer = Fixture::new("</s>", template).build();
    if let Ok(data) = dataset(&row, &tokenizer, Mask::Assistant) {
        let text = crate::fixture::marked(&data.examples[0], &tokenizer);
        assert!(
            text.rsplit_once('[')
                .is_some_and(|(_, trained)| !trained.contains("secret")),
            "{text}"
        );
    }
}

#[test]
fn calls_with_arguments_in_strings_are_trained() {
    let calls = |n: usize| json!([{"type": "function", "function": {"name": "look", "arguments": format!("{{\"n\": {n}}}")}}]);
    let messages = json!([{"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": calls(1)}, {"role": "tool", "content": "r"},
        {"role": "assistant", "content": "", "tool_calls": calls(2)}]);
    let template = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{{ m.tool_calls[0].function.arguments | tojson if m.tool_calls }}\
                    {% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    assert_eq!(
        crate::fixture::trained(
            &row(&messages),
            &Fixture::new("</s>", template).build(),
            Mask::Assistant
        ),
        "<|user|>q<|assistant|>[{\"n\": 1}</s>]<|tool|>r<|assistant|>[{\"n\": 2}</s>]"
    );
}

#[test]
fn many_random_conversations_are_not_refused() {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let trained = (0..500).filter(|_| {
        let bytes: Vec<u8> = (0..60).map(|_| next()).collect();
        assert_sound_or_refused(&bytes)
    });
    let trained = trained.count();
    assert!(trained > 40, "{trained} of 500");
}
