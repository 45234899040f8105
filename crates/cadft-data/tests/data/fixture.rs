//! Byte-level BPE tokenizers created in the test, and chat templates in the style of well-known models.

use cadft_data::{
    Content, Dataset, Example, Mask, Message, Row, SpecialTokens, TokenizeOptions, Tokenizer, TokenizerFiles,
};
use cadft_data::{DataError, tokenize};
use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// SmolLM2's template: a default system prompt, and turns in the form `<|im_start|>role\n..<|im_end|>\n`.
pub(crate) const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}\
    {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Llama 3's template: it writes the BOS itself, and trims contents.
pub(crate) const LLAMA3: &str = "{% set loop_messages = messages %}{% for message in loop_messages %}\
    {% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}\
    {% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// The special tokens; their ids follow those of 256 bytes and the merges.
pub(crate) const SPECIAL: [&str; 8] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "</s>",
];

/// The settings of a test's tokenizer.
#[derive(Clone)]
pub(crate) struct Fixture {
    /// Merges of byte-level pieces, `Ġ` for a space and `Ċ` for a newline.
    pub(crate) merges: Vec<(&'static str, &'static str)>,
    /// The token that the post-processor puts before a text.
    pub(crate) bos: Option<&'static str>,
    /// `tokenizer_config.json`.
    pub(crate) config: Value,
    /// `generation_config.json`.
    pub(crate) generation_config: Option<Value>,
}

impl Fixture {
    pub(crate) fn new(eos: &str, template: &str) -> Self {
        let config = json!({"eos_token": eos, "bos_token": "<|begin_of_text|>", "chat_template": template});
        Self {
            merges: vec![("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "a")],
            bos: None,
            config,
            generation_config: None,
        }
    }

    pub(crate) fn chatml() -> Self {
        Self::new("<|im_end|>", CHATML)
    }

    pub(crate) fn llama3() -> Self {
        Self {
            bos: Some("<|begin_of_text|>"),
            ..Self::new("<|eot_id|>", LLAMA3)
        }
    }

    pub(crate) fn files(&self) -> TokenizerFiles {
        TokenizerFiles {
            tokenizer: tokenizer_json(self).to_string().into_bytes(),
            tokenizer_config: Some(self.config.to_string().into_bytes()),
            generation_config: self
                .generation_config
                .as_ref()
                .map(|config| config.to_string().into_bytes()),
            ..TokenizerFiles::default()
        }
    }

    pub(crate) fn build(&self) -> Tokenizer {
        Tokenizer::from_bytes(&self.files()).unwrap()
    }
}

pub(crate) fn tokenizer_json(fixture: &Fixture) -> Value {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let pieces = bytes
        .iter()
        .map(char::to_string)
        .chain(fixture.merges.iter().map(|(a, b)| format!("{a}{b}")));
    let vocab: serde_json::Map<_, _> = pieces.enumerate().map(|(id, piece)| (piece, json!(id))).collect();
    let first = vocab.len();
    let added = |(index, token): (usize, &&str)| {
        json!({"id": first + index, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let post_processor = fixture.bos.map_or(byte_level.clone(), |bos| {
        let id = first + SPECIAL.iter().position(|&token| token == bos).unwrap();
        let (special, text) = (
            json!({"SpecialToken": {"id": bos, "type_id": 0}}),
            json!({"Sequence": {"id": "A", "type_id": 0}}),
        );
        let template = json!({"type": "TemplateProcessing", "single": [special, text], "pair": [text, text],
                              "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}}});
        json!({"type": "Sequence", "processors": [byte_level, template]})
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "pre_tokenizer": byte_level, "post_processor": post_processor, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": fixture.merges},
    })
}

pub(crate) fn messages(turns: &[(&str, &str)]) -> Vec<Message> {
    turns
        .iter()
        .map(|(role, content)| Message::new(role, content))
        .collect()
}

pub(crate) fn conversation(turns: &[(&str, &str)]) -> Row {
    Row::new(Content::Messages {
        messages: messages(turns),
        tools: Vec::new(),
        trained_from: None,
    })
}

pub(crate) fn completion(prompt: &str, completion: &str) -> Row {
    Row::new(Content::PromptCompletion {
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
    })
}

pub(crate) fn options(mask: Mask) -> TokenizeOptions {
    TokenizeOptions::new(4096, mask)
}

pub(crate) fn dataset(row: &Row, tokenizer: &Tokenizer, mask: Mask) -> Result<Dataset, DataError> {
    tokenize(std::slice::from_ref(row), tokenizer, &options(mask))
}

pub(crate) fn example(row: &Row, tokenizer: &Tokenizer, mask: Mask) -> Example {
    dataset(row, tokenizer, mask).unwrap().examples.remove(0)
}

/// The text of an example, with `[` and `]` around the trained parts.
pub(crate) fn marked(example: &Example, tokenizer: &Tokenizer) -> String {
    let mut text = String::new();
    let mut at = 0;
    for run in example.loss_mask.chunk_by(|a, b| a == b) {
        let ids = &example.token_ids[at..at + run.len()];
        let piece = tokenizer.decode(ids, SpecialTokens::Keep).unwrap();
        text += &if run[0] { format!("[{piece}]") } else { piece };
        at += run.len();
    }
    text
}

/// The trained parts of a row, marked in its text.
pub(crate) fn trained(row: &Row, tokenizer: &Tokenizer, mask: Mask) -> String {
    marked(&example(row, tokenizer, mask), tokenizer)
}
