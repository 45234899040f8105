//! SmolLM2-135M-Instruct against transformers (`python/smollm2_golden.py`), and a short fine-tune of it.
//!
//! Needs `models/smollm2-135m-instruct`, which `cargo xtask fetch smollm2` makes. Also tests that need other programs:
//! transformers, TensorBoard and a browser.

mod adapter;
mod gguf;
mod report;
mod saved;
mod tensorboard;
mod tokenizers;

use burn::tensor::{Device, Int, Tensor, TensorData};
use cadft_data::{Mask, TokenizeOptions, Tokenizer, parse_file, prompt_ids, tokenize};
use cadft_model::checkpoint::{self, Checkpoint};
use cadft_model::generate::{generate, ignore_tokens};
use cadft_model::{GenerateOptions, Request};
use cadft_tests::arrays::values;
use cadft_tests::command::run;
use cadft_tests::{Arrays, CHECKPOINT_LOGITS, RUN, fixture};
use cadft_train::evaluate::score_samples;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const PROMPTS: [&str; 3] = ["capital", "sum", "system"];

fn directory() -> PathBuf {
    directory_of("smollm2-135m-instruct", "smollm2")
}

/// A model that `cargo xtask fetch` makes.
fn directory_of(folder: &str, fetched: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(folder);
    assert!(
        path.is_dir(),
        "no {}: run `cargo xtask fetch {fetched}`",
        path.display()
    );
    path
}

fn loaded() -> (Checkpoint, Tokenizer) {
    let device: Device = cadft_train::device::parse("flex").expect("flex is compiled");
    let checkpoint = checkpoint::load(&directory(), &device).expect("the checkpoint loads");
    (
        checkpoint,
        Tokenizer::from_dir(&directory()).expect("the tokenizer loads"),
    )
}

fn golden() -> (Value, Arrays) {
    let text = fs::read_to_string(fixture("smollm2.json")).expect("the fixture exists");
    (
        serde_json::from_str(&text).expect("the fixture is JSON"),
        Arrays::read("smollm2.safetensors"),
    )
}

#[test]
fn logits_and_greedy_text_equal_transformers() {
    let (Checkpoint { model, .. }, tokenizer) = loaded();
    let (config, golden) = golden();
    let mut longest = 0;
    for name in PROMPTS {
        // Render and tokenise the prompt here, instead of taking the tokens of the fixture.
        let row = serde_json::json!({ "messages": config["prompts"][name]["messages"] });
        let row = parse_file(name, row.to_string().as_bytes())
            .expect("a prompt")
            .remove(0);
        let ids = prompt_ids(&row, &tokenizer).expect("the prompt renders");
        let expected: Vec<usize> = golden.indices(&format!("{name}/ids"));
        assert_eq!(
            ids.iter().map(|&id| id as usize).collect::<Vec<_>>(),
            expected,
            "{name}: ids"
        );

        let tensor: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let seq = tensor.len();
        let tensor = Tensor::<2, Int>::from_data(TensorData::new(tensor, [1, seq]), &model.device());
        let logits = model.logits(model.hidden_states(tensor));
        let [_, _, vocab] = logits.dims();
        let logits = values(logits);
        let last = &logits[(seq - 1) * vocab..];
        let theirs = golden.values(&format!("{name}/last_logits"));
        CHECKPOINT_LOGITS.assert_close(&format!("{name}: logits after the prompt"), last, theirs);

        let positions = golden.indices(&format!("{name}/positions"));
        let sampled = golden.indices("vocab_ids");
        let theirs = golden.values(&format!("{name}/logits"));
        let mut ours = vec![];
        for at in &positions {
            ours.extend(sampled.iter().map(|id| logits[at * vocab + id]));
        }
        CHECKPOINT_LOGITS.assert_close(&format!("{name}: logits inside the prompt"), &ours, theirs);

        let options = GenerateOptions {
            max_new_tokens: 40,
            stop_token_ids: tokenizer.stop_token_ids().to_vec(),
            ..GenerateOptions::default()
        };
        let found = generate(&model, &Request::samples(&[ids], 1), &options, &mut ignore_tokens)
            .expect("it generates")
            .remove(0);
        let stop = tokenizer.stop_token_ids();
        // The fixture continues after a stop token; generation ends there.
        let text: Vec<usize> = found
            .token_ids
            .iter()
            .take_while(|id| !stop.contains(id))
            .map(|&id| id as usize)
            .collect();
        assert_eq!(
            text,
            golden.indices(&format!("{name}/greedy"))[..text.len()],
            "{name}: greedy tokens"
        );
        longest = longest.max(text.len());
    }
    assert_eq!(longest, 40, "at least one text of 40 tokens is compared");
}

#[test]
fn tokens_masks_and_sample_likelihoods_equal_transformers() {
    let (Checkpoint { model, .. }, tokenizer) = loaded();
    let (config, _) = golden();
    let samples = config["samples"].as_array().expect("samples");
    let lines: Vec<String> = samples.iter().map(|sample| sample["row"].to_string()).collect();
    let rows = parse_file("samples", lines.join("\n").as_bytes()).expect("rows");
    let options = TokenizeOptions::new(2048, Mask::Assistant);
    let examples = tokenize(&rows, &tokenizer, &options)
        .expect("they tokenise")
        .examples;
    let scores: Vec<_> = score_samples(&model, &examples, 2).collect();
    assert_eq!(scores.len(), samples.len());
    for ((example, score), expected) in examples.iter().zip(&scores).zip(samples) {
        let ids: Vec<Value> = example.token_ids.iter().map(|&id| id.into()).collect();
        assert_eq!(Value::Array(ids), expected["ids"], "{}: ids", score.id);
        let trained: Vec<Value> = example
            .loss_mask
            .iter()
            .map(|&trained| u8::from(trained).into())
            .collect();
        assert_eq!(Value::Array(trained), expected["trained"], "{}: mask", score.id);
        let theirs = expected["nll"].as_f64().expect("nll");
        RUN.assert_near(&score.id, score.nll, theirs);
    }
}

#[test]
fn a_few_steps_of_cadft_lower_the_likelihood_loss() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let model = directory();
    let model = format!("model.path={}", model.display());
    let directory = out.path().join("run");
    let samples: Vec<String> = (0..32)
        .map(|i| {
            let (a, b) = (10 + i * 7 % 50, 3 + i * 11 % 40);
            let answer = format!("{a} + {b} = {}\\n#### {}", a + b, a + b);
            format!(
                r#"{{"messages":[{{"role":"user","content":"State the final answer: {a} + {b}"}},{{"role":"assistant","content":"{answer}"}}]}}"#
            )
        })
        .collect();
    fs::write(out.path().join("train.jsonl"), samples[..24].join("\n")).expect("a file");
    fs::write(out.path().join("eval.jsonl"), samples[24..].join("\n")).expect("a file");
    let args = [
        "train",
        "--recipe",
        "smollm2",
        "--out",
        directory.to_str().expect("UTF-8"),
        "--set",
        &model,
        "--set",
        "data.train=[\"train.jsonl\"]",
        "--set",
        "data.eval=[\"eval.jsonl\"]",
        "--set",
        "batch.global=8",
        "--set",
        "schedule.steps=4",
        "--set",
        "evaluate.answers=0",
    ];
    let binary = env!("CARGO_BIN_EXE_cadft-under-test");
    let _ = run(binary, out.path(), &args).succeeded();
    let metrics = fs::read_to_string(directory.join("metrics.jsonl")).expect("metrics");
    let evaluated: Vec<f64> = cadft_tests::command::lines(&metrics)
        .iter()
        .filter(|line| line["event"] == "evaluated")
        .map(|line| line["nll"].as_f64().expect("nll"))
        .collect();
    assert!(
        evaluated[1] < 0.9 * evaluated[0],
        "the evaluation NLL went from {} to {}",
        evaluated[0],
        evaluated[1]
    );
    assert!(directory.join("model/model.safetensors").is_file());
}
