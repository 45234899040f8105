//! Compares conversations rendered by chat templates with the results of transformers (`python/template_golden.py`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use cadft_data::{
    DataError, GenerationPrompt, Mask, Row, TokenizeOptions, Tokenizer, TokenizerFiles, parse_file, tokenize,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::spans::sound;

/// The fixture of one template.
#[derive(Deserialize)]
pub(crate) struct Golden {
    sha256: String,
    bos: Option<String>,
    eos: Option<String>,
    tokens: Vec<String>,
    replace: BTreeMap<String, String>,
    cases: BTreeMap<String, Case>,
}

/// The result of transformers for one conversation.
#[derive(Deserialize)]
struct Case {
    error: Option<String>,
    text: Option<String>,
    #[serde(default)]
    ids: Vec<u32>,
    mask: Option<Vec<[usize; 2]>>,
    prompt: Option<String>,
}

/// A file or directory of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The numbers of comparisons, and the differences.
#[derive(Default)]
pub(crate) struct Compared {
    pub(crate) texts: usize,
    pub(crate) ids: usize,
    pub(crate) masks: usize,
    pub(crate) sound: usize,
    pub(crate) errors: usize,
    pub(crate) refused: Vec<String>,
    pub(crate) differences: String,
}

impl Compared {
    fn differs(&mut self, template: &str, case: &str, what: &str) {
        let _ = writeln!(self.differences, "{template} {case}: {what}");
    }

    /// Compares all conversations with one template; `tokenizer_json` is the tokenizer without the template's tokens.
    pub(crate) fn add(&mut self, name: &str, golden: &Golden, source: &str, tokenizer_json: &[u8]) {
        assert_eq!(
            sha256(source),
            golden.sha256,
            "{name} is not the template of the fixture"
        );
        let tokenizer = golden.tokenizer(source, tokenizer_json);
        for (case, row) in conversations() {
            self.case(name, &case, &row, &golden.cases[&case], &tokenizer);
        }
    }

    /// There is no reference mask here; checks the properties that every mask must have.
    fn sound(&mut self, name: &str, case: &str, row: &Row, tokenizer: &Tokenizer) {
        let data = tokenize(std::slice::from_ref(row), tokenizer, &options(Mask::Assistant)).unwrap();
        match sound::check(row, &data.examples[0], tokenizer) {
            Ok(()) => self.sound += 1,
            Err(what) => self.differs(name, case, &what),
        }
    }

    fn case(&mut self, name: &str, case: &str, row: &Row, expected: &Case, tokenizer: &Tokenizer) {
        let template = tokenizer.chat_template().unwrap();
        let cadft_data::Content::Messages { messages, tools, .. } = &row.content else {
            panic!("{case} is a conversation")
        };
        if let Some(prompt) = &expected.prompt {
            let before = &messages[..messages.len() - 1];
            match template.render(before, tools, GenerationPrompt::Add) {
                Ok(text) if sha256(&text) == *prompt => self.texts += 1,
                other => self.differs(name, case, &format!("prompt: {other:?}")),
            }
        }
        let rendered = template.render(messages, tools, GenerationPrompt::Omit);
        let (Some(text), None) = (&expected.text, &expected.error) else {
            let words = expected.error.as_deref().unwrap_or_default();
            match rendered {
                Ok(_) if GIVEN_TEXT.contains(&(name, case)) => self.sound(name, case, row, tokenizer),
                Err(error) if error.to_string().contains(words) => self.errors += 1,
                other => self.differs(name, case, &format!("expected the error `{words}`: {other:?}")),
            }
            return;
        };
        match rendered {
            Ok(rendered) if sha256(&rendered) == *text => self.texts += 1,
            other => return self.differs(name, case, &format!("text: {other:?}")),
        }
        let all = tokenize(std::slice::from_ref(row), tokenizer, &options(Mask::All)).unwrap();
        if all.examples[0].token_ids == expected.ids {
            self.ids += 1;
        } else {
            self.differs(name, case, "ids");
        }
        let assistant = tokenize(std::slice::from_ref(row), tokenizer, &options(Mask::Assistant));
        match (assistant, &expected.mask) {
            (Ok(dataset), Some(mask)) => {
                let found = runs(&dataset.examples[0].loss_mask);
                if found == *mask {
                    self.masks += 1;
                } else {
                    self.differs(name, case, &format!("mask: {found:?}, expected {mask:?}"));
                }
            }
            (Ok(_), None) => self.sound(name, case, row, tokenizer),
            (Err(error), _) => self
                .refused
                .push(format!("{name} {case}: {}", first_line(&error))),
        }
    }
}

/// Cases in which transformers fails because the template appends call arguments to a string; cadft passes a string.
const GIVEN_TEXT: [(&str, &str); 1] = [("trl/deepseekv3", "tool_call")];

fn first_line(error: &DataError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn options(mask: Mask) -> TokenizeOptions {
    TokenizeOptions::new(1 << 20, mask)
}

fn runs(mask: &[bool]) -> Vec<[usize; 2]> {
    let mut runs = Vec::new();
    let mut at = 0;
    for run in mask.chunk_by(|a, b| a == b) {
        if run[0] {
            runs.push([at, at + run.len()]);
        }
        at += run.len();
    }
    runs
}

impl Golden {
    /// The tokenizer with the template's special tokens added, as in the generator of the fixture.
    pub(crate) fn tokenizer(&self, source: &str, tokenizer_json: &[u8]) -> Tokenizer {
        let mut tokenizer: Value = serde_json::from_slice(tokenizer_json).unwrap();
        let mut added = match tokenizer["added_tokens"].take() {
            Value::Array(added) => added,
            other => panic!("{other} is no list"),
        };
        let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
        for token in self.bos.iter().chain(&self.eos).chain(&self.tokens) {
            if vocab.contains_key(token) || added.iter().any(|entry| entry["content"] == **token) {
                continue;
            }
            let outside = |entry: &&Value| !vocab.contains_key(entry["content"].as_str().unwrap());
            let id = vocab.len() + added.iter().filter(outside).count();
            added.push(
                json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                              "rstrip": false, "normalized": false, "special": true}),
            );
        }
        tokenizer["added_tokens"] = Value::Array(added);
        let mut template = source.to_owned();
        for (date, text) in &self.replace {
            template = template.replace(date, text);
        }
        let config = json!({"bos_token": self.bos, "eos_token": self.eos, "chat_template": template,
                        "add_bos_token": false});
        Tokenizer::from_bytes(&TokenizerFiles {
            tokenizer: tokenizer.to_string().into_bytes(),
            tokenizer_config: Some(config.to_string().into_bytes()),
            ..TokenizerFiles::default()
        })
        .unwrap()
    }
}

/// The conversations of the fixture.
pub(crate) fn conversations() -> BTreeMap<String, Row> {
    let text = std::fs::read_to_string(repository("tests/fixtures/templates/conversations.json")).unwrap();
    let all: Map<String, Value> = serde_json::from_str(&text).unwrap();
    all.into_iter()
        .map(|(name, row)| {
            (
                name,
                parse_file("row", row.to_string().as_bytes()).unwrap().remove(0),
            )
        })
        .collect()
}

pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The templates written for the tests and the presets, each with its source; and a tokenizer without their tokens.
pub(crate) fn handwritten() -> (Vec<(String, Golden, String)>, Vec<u8>) {
    let text = std::fs::read_to_string(repository("tests/fixtures/templates/handwritten.json")).unwrap();
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&text).unwrap();
    let source = |name: &str| {
        let file = name
            .replace("own/", "tests/fixtures/templates/")
            .replace("preset/", "crates/cadft-data/src/template/preset/");
        std::fs::read_to_string(repository(&(file + ".jinja"))).unwrap()
    };
    let all = golden.into_iter().map(|(name, golden)| {
        let source = source(&name);
        (name, golden, source)
    });
    let tokenizer = std::fs::read(repository("tests/fixtures/blackbox/model/tokenizer.json")).unwrap();
    (all.collect(), tokenizer)
}

#[test]
fn templates_in_the_manner_of_well_known_models_give_what_transformers_gives() {
    let (all, tokenizer) = handwritten();
    let mut compared = Compared::default();
    for (name, golden, source) in &all {
        compared.add(name, golden, source, &tokenizer);
    }
    assert!(compared.differences.is_empty(), "{}", compared.differences);
    let found = [
        all.len(),
        compared.texts,
        compared.ids,
        compared.masks,
        compared.sound,
        compared.errors,
    ];
    println!("{found:?} {:#?}", compared.refused);
}
