//! What is trained of conversations in which every text is a word of its own, under many templates.

use std::fmt::Write;

use cadft_data::{
    Content, Example, GenerationPrompt, Mask, Message, Row, SpecialTokens, TokenizeOptions, Tokenizer,
    tokenize,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{CHATML, Fixture, LLAMA3, dataset};
use crate::golden::handwritten;
use crate::mixed::assert_sound_or_refused;

/// A word that only one message has.
struct Word {
    message: usize,
    text: String,
}

/// What must hold of every mask: what is trained ends with a stop token, and up to that it holds text of one trained
/// turn and of no other message. Returns the turns that are trained.
fn sound(
    words: &[Word],
    trained: &[usize],
    example: &Example,
    tokenizer: &Tokenizer,
) -> Result<Vec<usize>, String> {
    let decode = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Keep).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    for run in example.loss_mask.chunk_by(|a, b| a == b) {
        let ids = &example.token_ids[at..at + run.len()];
        at += run.len();
        if !run[0] {
            continue;
        }
        for part in ids.split_inclusive(|id| tokenizer.stop_token_ids().contains(id)) {
            let text = decode(part);
            let inside = words.iter().filter(|word| text.contains(&word.text));
            let mut turns: Vec<usize> = inside.map(|word| word.message).collect();
            turns.dedup();
            if let Some(other) = turns.iter().find(|turn| !trained.contains(turn)) {
                return Err(format!("text of message {other} is trained: `{text}`"));
            }
            if turns.len() > 1 {
                return Err(format!(
                    "text of messages {turns:?} before a stop token: `{text}`"
                ));
            }
            let ends = part
                .last()
                .is_some_and(|id| tokenizer.stop_token_ids().contains(id));
            if !ends && !text.trim().is_empty() {
                return Err(format!("no stop token after `{text}`"));
            }
            found.extend(turns);
        }
    }
    found.dedup();
    Ok(found)
}

/// As [`sound`], for the texts of any conversation that only one of its messages has.
pub(crate) fn check(row: &Row, example: &Example, tokenizer: &Tokenizer) -> Result<(), String> {
    let Content::Messages { messages, .. } = &row.content else {
        return Err("no conversation".to_owned());
    };
    let texts: Vec<&str> = messages.iter().map(|message| message.content().trim()).collect();
    let is_own = |turn: &usize| {
        let others = texts.iter().enumerate().filter(|(other, _)| other != turn);
        !texts[*turn].is_empty() && others.into_iter().all(|(_, other)| !other.contains(texts[*turn]))
    };
    let words: Vec<Word> = (0..texts.len())
        .filter(is_own)
        .map(|message| Word {
            message,
            text: texts[message].to_owned(),
        })
        .collect();
    let trained: Vec<usize> = (0..messages.len())
        .filter(|&turn| messages[turn].is_trained())
        .collect();
    sound(&words, &trained, example, tokenizer).map(|_| ())
}

/// Conversations: `system`, `user` and so on are texts; `calls` are calls without a text, `both` a call beside a text,
/// `thinks` an answer with reasoning, `thought` one with reasoning in its text, and `!` before a turn means that it is
/// not trained.
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

/// What was found under some templates.
#[derive(Default)]
pub(crate) struct Seen {
    faults: String,
    /// By template: conversations that are trained, and those that are refused and why.
    trained: Vec<(String, usize)>,
    refused: Vec<(String, String)>,
}

impl Seen {
    /// Looks at all conversations under a template.
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

    /// Nothing wrong was trained, and under most templates most conversations are trained.
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

/// Templates that write texts of other messages where answers are, with the token that ends them.
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
            let error = dataset(&row(&messages), &tokenizer, Mask::Assistant)
                .unwrap_err()
                .to_string();
            let expected = format!("`messages[1]`: the chat template does not show the `{key}` of this turn");
            assert!(error.contains(&expected) && error.contains("\nhint: "), "{error}");
        }
        // As context it is no answer to learn.
        let mut messages = messages;
        messages[1]["train"] = json!(false);
        messages.as_array_mut().unwrap().extend([
            json!({"role": "user", "content": "r"}),
            json!({"role": "assistant", "content": "a"}),
        ]);
        assert!(dataset(&row(&messages), &Fixture::chatml().build(), Mask::Assistant).is_ok());
    }
}

fn marked_chatml() -> Tokenizer {
    let template = cadft_data::Preset::ChatMl
        .source()
        .replace("message['content'] +", "(message['content'] or '') +");
    Fixture::new("<|im_end|>", &template).build()
}

/// Mistral's way: the system text and the tools go into the last question.
const MOVES: &str = "{% set system = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}\
    {% set questions = messages | selectattr('role', 'equalto', 'user') | list %}\
    {% for m in messages %}{% if m.role == 'user' %}\
    {% if tools and m == questions[-1] %}{{ '[TOOLS]' + tools | tojson + '[/TOOLS]' }}{% endif %}\
    {{ '[INST] ' + (system if m == questions[-1] else '') + m.content + '[/INST]' }}\
    {% elif m.tool_calls %}{% for call in m.tool_calls %}{{ '[CALLS]' + call.function | tojson + call.id }}{% endfor %}</s>\
    {% elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}\
    {% elif m.role == 'tool' %}{{ '[RESULT]' + m.content + m.tool_call_id + '[/RESULT]' }}{% endif %}{% endfor %}";

#[test]
fn turns_are_found_where_tools_and_system_move_to_the_last_question() {
    let tokenizer = Fixture::new("</s>", MOVES).build();
    let (row, ..) = conversation("system user calls tool assistant user assistant user calls tool assistant");
    let text = crate::fixture::trained(&row, &tokenizer, Mask::Assistant);
    let call = |turn: usize| {
        format!(
            "[[CALLS]{{\"name\": \"look\", \"arguments\": {{\"city\": \"wargument{turn}x\", \"days\": 2}}}}call00001</s>]"
        )
    };
    let result = |turn: usize| format!("[RESULT]wtool{turn}xcall00001[/RESULT]");
    let starts = format!(
        "[INST] wuser1x[/INST]{}{}[ wassistant4x</s>][INST] wuser5x[/INST][ wassistant6x</s>][TOOLS]",
        call(2),
        result(3)
    );
    assert!(text.starts_with(&starts), "{text}");
    let ends = format!(
        "[/TOOLS][INST] wsystem0x\n\nwuser7x[/INST]{}{}[ wassistant10x</s>]",
        call(8),
        result(9)
    );
    assert!(text.ends_with(&ends), "{text}");
}

#[test]
fn of_several_marked_places_in_a_turn_only_the_last_must_end_with_a_stop() {
    let template = "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' %}\
        {% generation %}{{ m.reasoning_content }}{% endgeneration %}</think>{% generation %}{{ m.content + '</s>' }}\
        {% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    let tokenizer = Fixture::new("</s>", template).build();
    let (row, ..) = conversation("user thinks user thinks");
    let turn = |n: usize| format!("<|assistant|>[wreasoning{n}x]</think>[wanswer{n}x</s>]");
    assert_eq!(
        crate::fixture::trained(&row, &tokenizer, Mask::Assistant),
        format!("<|user|>wuser0x{}<|user|>wuser2x{}", turn(1), turn(3))
    );
    // Which place belongs to which turn is known, too.
    assert_eq!(
        crate::fixture::trained(&row, &tokenizer, Mask::LastTurn),
        format!(
            "<|user|>wuser0x<|assistant|>wreasoning1x</think>wanswer1x</s><|user|>wuser2x{}",
            turn(3)
        )
    );
    let without = template.replace("m.content + '</s>'", "m.content").replace(
        "{% endgeneration %}{% else %}",
        "{% endgeneration %}</s>{% else %}",
    );
    let error = error(&row, &without, Mask::Assistant);
    assert!(
        error.contains("(`wanswer1x`…) does not end with a stop token"),
        "{error}"
    );
}

#[test]
fn marks_around_another_message_are_refused() {
    let (row, ..) = conversation("user assistant user assistant");
    let error = error(&row, TRAPS[5].1, Mask::Assistant);
    assert!(
        error.contains("holds text of `messages[0]`, a turn of `user`"),
        "{error}"
    );
}

#[test]
fn a_token_that_takes_in_whitespace_beside_it_is_context() {
    let mut files = Fixture::new(
        "</s>",
        "{% for m in messages %}{{ '<|im_start|>' + m.content }}{% if m.role == 'assistant' %}</s>\
        {% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}",
    )
    .files();
    let mut json: Value = serde_json::from_slice(&files.tokenizer).unwrap();
    for token in json["added_tokens"].as_array_mut().unwrap() {
        token["rstrip"] = json!(token["content"] == "<|im_start|>");
    }
    files.tokenizer = json.to_string().into_bytes();
    let tokenizer = Tokenizer::from_bytes(&files).unwrap();
    let conversation = crate::fixture::conversation(&[("user", "q"), ("assistant", "\nyes")]);
    let completion = crate::fixture::completion("q<|im_start|>", "\nyes");
    for row in [conversation, completion] {
        let example = crate::fixture::example(&row, &tokenizer, Mask::Assistant);
        let ids = example.token_ids.iter().zip(&example.loss_mask);
        let trained: Vec<u32> = ids.filter(|(_, trained)| **trained).map(|(id, _)| *id).collect();
        assert_eq!(
            tokenizer.decode(&trained, SpecialTokens::Keep).unwrap(),
            "yes</s>"
        );
    }
}

#[test]
fn the_text_that_is_trained_is_the_rendered_one() {
    let (row, ..) = conversation("system user assistant user calls tool assistant");
    let tokenizer = Fixture::new("</s>", MOVES).build();
    let Content::Messages { messages, tools, .. } = &row.content else {
        panic!("a conversation")
    };
    let rendered = tokenizer
        .chat_template()
        .unwrap()
        .render(messages, tools, GenerationPrompt::Omit)
        .unwrap();
    let example = crate::fixture::example(&row, &tokenizer, Mask::Assistant);
    assert_eq!(
        tokenizer.decode(&example.token_ids, SpecialTokens::Keep).unwrap(),
        rendered
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn random_conversations_under_random_templates_are_sound_or_refused(bytes in prop::collection::vec(any::<u8>(), 12..80)) {
        assert_sound_or_refused(&bytes);
    }
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
