//! Conversations and templates made from bytes, for random tests and for fuzzing. Either the row is refused, or trained
//! text ends with a stop token and contains text of one trained turn and of no other message.

use cadft_data::{
    Example, Mask, SpecialTokens, TokenizeOptions, Tokenizer, TokenizerFiles, parse_file, tokenize,
};
use serde_json::{Map, Value, json};

/// A conversation and a template. Every field is one byte that selects one of several variants.
struct Input {
    template: Template,
    turns: Vec<Turn>,
    tools: bool,
    last_turn: bool,
}

#[derive(Clone, Copy)]
struct Turn {
    role: u8,
    /// Selects the text before and after the unique word.
    around: [u8; 2],
    text: u8,
    calls: u8,
    reasoning: bool,
    flag: u8,
}

#[derive(Clone, Copy)]
struct Template {
    header: u8,
    content: u8,
    calls: u8,
    reasoning: u8,
    stop: u8,
    other_stop: u8,
    marks: u8,
    trap: u8,
    prompt: u8,
}

/// Largest number of turns in a conversation.
const TURNS: usize = 12;

impl Input {
    fn new(bytes: &[u8]) -> Self {
        let mut bytes = bytes.iter().copied();
        let mut next = || bytes.next().unwrap_or_default();
        let template = Template {
            header: next(),
            content: next(),
            calls: next(),
            reasoning: next(),
            stop: next(),
            other_stop: next(),
            marks: next(),
            trap: next(),
            prompt: next(),
        };
        let (tools, last_turn) = (next() % 2 == 1, next() % 4 == 3);
        let count = usize::from(next()) % TURNS + 1;
        let turn = |_| Turn {
            role: next(),
            around: [next(), next()],
            text: next(),
            calls: next(),
            reasoning: next() % 3 == 1,
            flag: next(),
        };
        Self {
            template,
            turns: (0..count).map(turn).collect(),
            tools,
            last_turn,
        }
    }
}

const AROUND: [&str; 12] = [
    "",
    " ",
    "\n",
    "\n\n",
    "</s>",
    "</s><|assistant|>",
    "<|assistant|>",
    "\u{F0000}",
    "é",
    "\"",
    "<think>",
    "\n: </s>\n",
];
const HEADERS: [&str; 5] = [
    "<|{{ m.role }}|>",
    "\n{{ m.role }}: ",
    "",
    "<s>{{ m.role }}\n",
    "</s>{{ m.role }}:",
];
const CONTENTS: [&str; 6] = [
    "{{ m.content or '' }}",
    "{{ (m.content or '') | trim }}",
    "{{ (m.content or '').split('</think>')[-1].lstrip('\n') }}",
    "{{ m.content }}",
    "{% if not m.tool_calls %}{{ m.content or '' }}{% endif %}",
    "{{ (m.content or '') | length }} {{ m.content or '' }}",
];
const CALLS: [&str; 5] = [
    "",
    "{{ m.tool_calls | tojson if m.tool_calls else '' }}",
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }}]{{ c.function.arguments | tojson }}{{ c.id }}{% endfor %}",
    "{% for c in m.tool_calls or [] %}\n{{ c.function.name }}{% endfor %}",
    "{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments | tojson }}{% endif %}",
];
const REASONING: [&str; 4] = [
    "",
    "<think>{{ m.reasoning_content or '' }}</think>",
    "{% if loop.last %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}",
    "{{ m.thinking or '' }}",
];
const STOPS: [&str; 6] = [
    "</s>",
    "</s>\n",
    "",
    "{% if loop.last %}</s>{% endif %}",
    "{% if not loop.last %}</s>{% endif %}",
    "{% if not m.tool_calls %}</s>{% endif %}",
];
const TRAPS: [&str; 6] = [
    "",
    "{% if not loop.last %}{{ messages[loop.index].content or '' }}{% endif %}",
    "{% if not loop.first %}{{ messages[loop.index0 - 1].content or '' }}{% endif %}",
    "{{ messages[0].content or '' }}",
    "{{ messages[-1].content or '' }}",
    "{% if loop.last %}{{ messages[0].content or '' }}{% endif %}",
];
const PROMPTS: [&str; 4] = ["", "<think>\n", "\n", " "];

impl Template {
    fn source(self) -> String {
        let of = |parts: &[&str], index: u8| parts[usize::from(index) % parts.len()].to_owned();
        let header = of(&HEADERS, self.header);
        let inner = of(&REASONING, self.reasoning) + &of(&CONTENTS, self.content) + &of(&CALLS, self.calls);
        let (stop, trap) = (of(&STOPS, self.stop), of(&TRAPS, self.trap));
        let (begin, end) = ("{% generation %}", "{% endgeneration %}");
        let answer = match self.marks % 7 {
            0 => format!("{header}{begin}{inner}{trap}{stop}{end}"),
            1 => format!("{begin}{header}{inner}{stop}{end}{trap}"),
            2 => format!("{header}{begin}{inner}{end}{trap}{begin}{stop}{end}"),
            3 => format!("{header}{inner}{trap}{stop}"),
            _ => format!("{header}{inner}{stop}{trap}"),
        };
        let other = format!("{header}{{{{ m.content or '' }}}}{}", of(&STOPS, self.other_stop));
        let opening = header.replace("m.role", "'assistant'") + &of(&PROMPTS, self.prompt);
        format!(
            "{{% for m in messages %}}{{% if m.role == 'assistant' %}}{answer}{{% else %}}{other}{{% endif %}}{{% endfor %}}\
             {{% if add_generation_prompt %}}{opening}{{% endif %}}"
        )
    }
}

/// A word that occurs in only one message.
struct Word {
    message: usize,
    text: String,
}

/// The row, its words, and its trained turns.
fn row(input: &Input) -> (Value, Vec<Word>, Vec<usize>) {
    let (mut words, mut trained) = (Vec::new(), Vec::new());
    let mut messages = Vec::new();
    for (message, turn) in input.turns.iter().enumerate() {
        let mut word = |part: &str| {
            let text = format!("w{part}{message}x");
            words.push(Word {
                message,
                text: text.clone(),
            });
            text
        };
        let [before, after] = turn.around.map(|index| AROUND[usize::from(index) % AROUND.len()]);
        // Half of the turns are answers.
        let roles = [
            "user",
            "assistant",
            "user",
            "assistant",
            "system",
            "assistant",
            "tool",
            "assistant",
            "developer",
            "assistant",
        ];
        let role = roles[usize::from(turn.role) % roles.len()];
        let is_assistant = role == "assistant";
        let mut fields = Map::new();
        fields.insert("role".to_owned(), json!(role));
        let content = match turn.text % 8 {
            5 if is_assistant => Value::Null,
            6 => json!(""),
            7 => json!(format!(
                "<think>{}</think>{before}{}{after}",
                word("thought"),
                word("said")
            )),
            _ => json!(format!("{before}{}{after}", word("text"))),
        };
        fields.insert("content".to_owned(), content);
        if is_assistant && turn.reasoning {
            fields.insert("reasoning_content".to_owned(), json!(word("reasoning")));
        }
        let call = |index: u8, word: &mut dyn FnMut(&str) -> String| {
            let arguments = match turn.calls / 6 % 4 {
                0 => json!({}),
                1 => json!({"n": index}),
                2 => json!({"city": word(&format!("argument{index}n")), "n": 1.5}),
                _ => json!({"list": [word(&format!("item{index}n")), null, {"k": true}]}),
            };
            json!({"id": format!("call0000{index}"), "type": "function",
                   "function": {"name": "look", "arguments": arguments}})
        };
        if is_assistant && turn.calls % 6 > 2 {
            let calls: Vec<Value> = (2..turn.calls % 6).map(|index| call(index, &mut word)).collect();
            fields.insert("tool_calls".to_owned(), json!(calls));
        }
        let mut is_trained = is_assistant;
        if is_assistant && turn.flag % 4 == 3 {
            let key = ["train", "loss", "training", "loss_mask"][usize::from(turn.flag / 4) % 4];
            is_trained = turn.flag / 16 % 3 == 0;
            fields.insert(key.to_owned(), json!(is_trained));
        }
        if is_trained {
            trained.push(message);
        }
        messages.push(Value::Object(fields));
    }
    let mut row = json!({ "messages": messages });
    if input.tools {
        row["tools"] = json!([{"type": "function", "function": {"name": "look", "parameters": {}}}]);
    }
    if input.last_turn {
        trained.drain(..trained.len().saturating_sub(1));
    }
    (row, words, trained)
}

fn tokenizer(template: &str) -> Tokenizer {
    // GPT-2's byte alphabet: printable bytes are themselves, the others are characters after 255.
    let is_printed = |byte: &u32| matches!(*byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let letters = (0..256_u32).filter(is_printed).chain(256..324);
    let vocab: Map<String, Value> = letters
        .filter_map(char::from_u32)
        .enumerate()
        .map(|(id, letter)| (letter.to_string(), json!(id)))
        .collect();
    let first = vocab.len();
    let added: Vec<Value> = ["</s>", "<|assistant|>", "<|user|>", "<s>"]
        .into_iter()
        .enumerate()
        .map(|(index, token)| {
            json!({"id": first + index, "content": token, "single_word": false, "lstrip": false,
                   "rstrip": token == "<|assistant|>", "normalized": false, "special": true})
        })
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": added,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": []},
    });
    let config = json!({"eos_token": "</s>", "chat_template": template});
    Tokenizer::from_bytes(&TokenizerFiles {
        tokenizer: tokenizer.to_string().into_bytes(),
        tokenizer_config: Some(config.to_string().into_bytes()),
        ..TokenizerFiles::default()
    })
    .expect("a tokenizer")
}

fn assert_sound(words: &[Word], trained: &[usize], example: &Example, tokenizer: &Tokenizer) {
    let decode = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Keep).expect("a text");
    let is_stop = |id: &u32| tokenizer.stop_token_ids().contains(id);
    let whole = decode(&example.token_ids);
    let mut at = 0;
    for run in example.loss_mask.chunk_by(|a, b| a == b) {
        let ids = &example.token_ids[at..at + run.len()];
        at += run.len();
        if !run[0] {
            continue;
        }
        for part in ids.split_inclusive(is_stop) {
            let text = decode(part);
            let mut turns: Vec<usize> = words
                .iter()
                .filter(|word| text.contains(&word.text))
                .map(|word| word.message)
                .collect();
            turns.dedup();
            assert!(
                turns.len() <= 1 && turns.iter().all(|turn| trained.contains(turn)),
                "{turns:?} of {trained:?} in `{text}` of `{whole}`"
            );
        }
    }
    let last = example.loss_mask.iter().rposition(|&trained| trained);
    let stop = (0..=last.expect("something is trained")).rfind(|&index| is_stop(&example.token_ids[index]));
    let after = stop.map(|stop| decode(&example.token_ids[stop + 1..=last.unwrap_or_default()]));
    assert!(
        after.is_some_and(|after| after.trim().is_empty()),
        "no stop token ends `{whole}`"
    );
}

/// Tokenises a conversation made from bytes; returns whether it was accepted.
///
/// # Panics
/// If a token is trained that must not be.
pub(crate) fn assert_sound_or_refused(bytes: &[u8]) -> bool {
    let input = Input::new(bytes);
    let (row, words, trained) = row(&input);
    let Ok(rows) = parse_file("d.jsonl", row.to_string().as_bytes()) else {
        return false;
    };
    let tokenizer = tokenizer(&input.template.source());
    let mask = if input.last_turn {
        Mask::LastTurn
    } else {
        Mask::Assistant
    };
    match tokenize(&rows, &tokenizer, &TokenizeOptions::new(1 << 20, mask)) {
        Ok(data) => {
            assert_sound(&words, &trained, &data.examples[0], &tokenizer);
            true
        }
        Err(_) => false,
    }
}
