//! Every key of `generation_config.json`: either answers end where transformers ends them, or the key is in the list of
//! keys without effect (`python/generation_keys.py`).

use burn::tensor::Device;
use cadft_model::checkpoint::{self, Checkpoint};
use cadft_model::config::{GENERATION_KEYS_READ, GENERATION_WITHOUT_EFFECT};
use cadft_model::generate::{generate, ignore_tokens};
use cadft_model::{GenerateOptions, Request};
use cadft_tests::fixture;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs;

#[derive(Deserialize)]
struct Golden {
    fields: Vec<String>,
    prompt: Vec<u32>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    generation: Option<Map<String, Value>>,
    config: Value,
    tokens: Vec<u32>,
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(fixture("generation-keys.json")).expect("a fixture")).expect("JSON")
}

/// The tiny model with these end tokens.
fn loaded(generation: Option<&Map<String, Value>>, ends: &Value) -> Checkpoint {
    let copy = tempfile::tempdir().expect("a directory");
    let source = fixture("tiny-llama-tied");
    let weights = "model.safetensors";
    fs::copy(source.join(weights), copy.path().join(weights)).expect("a copy");
    let config = fs::read(source.join("config.json")).expect("a fixture");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["eos_token_id"] = ends.clone();
    fs::write(copy.path().join("config.json"), config.to_string()).expect("it is written");
    if let Some(generation) = generation {
        let path = copy.path().join("generation_config.json");
        fs::write(path, json!(generation).to_string()).expect("it is written");
    }
    checkpoint::load(copy.path(), &Device::flex()).expect("a model")
}

fn answer(checkpoint: &Checkpoint, golden: &Golden) -> Vec<u32> {
    let options = GenerateOptions {
        max_new_tokens: golden.rows[0].tokens.len(),
        stop_token_ids: checkpoint.stop_token_ids(),
        ..GenerateOptions::default()
    };
    let requests = Request::samples(std::slice::from_ref(&golden.prompt), 1);
    let found = generate(&checkpoint.model, &requests, &options, &mut ignore_tokens);
    found.expect("a valid prompt").remove(0).token_ids
}

#[test]
fn an_answer_ends_where_transformers_ends_it() {
    let golden = golden();
    for row in &golden.rows {
        let named = row.generation.as_ref().and_then(|keys| keys.get("eos_token_id"));
        // A `generation_config.json` without an end token hides the one of `config.json`, but only from transformers.
        let is_hidden = row.generation.is_some() && named.is_none_or(Value::is_null) && !row.config.is_null();
        let of_config = |other: &&Row| other.generation.is_none() && other.config == row.config;
        let expected = match golden.rows.iter().find(of_config) {
            Some(shown) if is_hidden => &shown.tokens,
            _ => &row.tokens,
        };
        let found = answer(&loaded(row.generation.as_ref(), &row.config), &golden);
        assert_eq!(found, *expected, "{:?} {}", row.generation, row.config);
    }
}

#[test]
fn every_other_key_is_listed_and_changes_nothing() {
    let golden = golden();
    let plain = answer(&loaded(None, &Value::Null), &golden);
    for field in &golden.fields {
        let is_read = GENERATION_KEYS_READ.contains(&field.as_str());
        let listed = GENERATION_WITHOUT_EFFECT
            .iter()
            .filter(|(key, _)| key == field)
            .count();
        assert_eq!(usize::from(is_read) + listed, 1, "`{field}`");
        for value in [json!(2), json!([plain[1]]), json!("44"), json!(true)] {
            let keys = Map::from_iter([(field.clone(), value.clone())]);
            if !is_read {
                assert_eq!(
                    answer(&loaded(Some(&keys), &Value::Null), &golden),
                    plain,
                    "{field}: {value}"
                );
            }
        }
    }
    assert_eq!(
        golden.fields.len(),
        GENERATION_KEYS_READ.len() + GENERATION_WITHOUT_EFFECT.len()
    );
}
