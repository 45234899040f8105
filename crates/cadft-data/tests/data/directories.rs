//! Tokenizer directories are read as in transformers, or refused: `python/tokenizer_golden.py`.

use std::fs;
use std::path::Path;

use cadft_data::{Content, Message, Row, Tokenizer, prompt_text, with_hints};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::golden::repository;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    tools: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: Map<String, Value>,
    files: Map<String, Value>,
    #[serde(flatten)]
    expected: Value,
}

/// Writes the directory of a case.
fn write(directory: &Path, case: &Case) {
    let model = repository("tests/fixtures/blackbox/model");
    fs::copy(model.join("tokenizer.json"), directory.join("tokenizer.json")).unwrap();
    let config = fs::read(model.join("tokenizer_config.json")).unwrap();
    let mut config: Map<String, Value> = serde_json::from_slice(&config).unwrap();
    config.extend(case.config.clone());
    config.retain(|_, value| !value.is_null());
    let config = serde_json::to_vec(&config).unwrap();
    fs::write(directory.join("tokenizer_config.json"), config).unwrap();
    for (name, content) in &case.files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = content
            .as_str()
            .map_or_else(|| content.to_string(), str::to_owned);
        fs::write(path, text).unwrap();
    }
}

/// The same results as the fixture has from transformers, computed here.
fn found(tokenizer: &Tokenizer, golden: &Golden) -> Map<String, Value> {
    let ids =
        |encode: &dyn Fn(&str) -> Vec<u32>| golden.texts.iter().map(|text| encode(text)).collect::<Value>();
    let prompt = |tools: &[Value]| {
        let row = Row::new(Content::Messages {
            messages: vec![Message::new("user", "q")],
            tools: tools.to_vec(),
            trained_from: None,
        });
        Value::from(prompt_text(&row, tokenizer).unwrap())
    };
    Map::from_iter(
        [
            ("ids", ids(&|text| tokenizer.encode_plain(text).unwrap())),
            ("whole", ids(&|text| tokenizer.encode_with_special(text).unwrap())),
            ("size", tokenizer.vocab_size().into()),
            ("eos", tokenizer.eos_token_id().into()),
            ("plain", prompt(&[])),
            ("tools", prompt(&golden.tools)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

#[test]
fn a_directory_is_read_as_transformers_reads_it_or_refused() {
    let text = fs::read_to_string(repository("tests/fixtures/tokenizers.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let mut differences = Vec::new();
    let mut refused = Vec::new();
    for case in &golden.cases {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), case);
        let name =
            Value::from(case.config.clone()).to_string() + &Value::from(case.files.clone()).to_string();
        let expected = case.expected.as_object().unwrap();
        match Tokenizer::from_dir(directory.path()) {
            Err(error) => {
                let error = with_hints(&error);
                assert!(error.contains("\nhint: "), "{error}");
                refused.push(format!("{name}: {error}"));
            }
            Ok(_) if expected.contains_key("why") => differences.push(format!("{name}: {expected:?}")),
            Ok(tokenizer) => {
                let found = found(&tokenizer, &golden);
                for (key, expected) in expected
                    .iter()
                    .filter(|(key, expected)| found[*key] != **expected)
                {
                    differences.push(format!("{name}\n  {key}: {expected}, not {}", found[key]));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // The refused cases are known; no others may be added.
    assert_eq!(refused.len(), 3, "{}", refused.join("\n"));
}
