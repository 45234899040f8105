//! Seconds of greedy generation at some batch sizes, in a process of its own: `cargo xtask bench generate`.
//!
//! `generate-speed MODEL PROMPTS.json NEW_TOKENS BATCH...`: the file holds token ids, one array a prompt. Prints one JSON
//! object for each batch size.

use cadft_model::generate::{Request, generate, ignore_tokens};
use cadft_model::{GenerateOptions, checkpoint};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompts, new_tokens, batches @ ..] = args.as_slice() else {
        return Err("usage: generate-speed MODEL PROMPTS.json NEW_TOKENS BATCH...".into());
    };
    let device = cadft_train::device::parse("flex")?;
    let model = checkpoint::load(Path::new(model), &device)?.model;
    let prompts: Vec<Vec<u32>> = serde_json::from_str(&std::fs::read_to_string(prompts)?)?;
    let options = |max_new_tokens, batch| GenerateOptions {
        max_new_tokens,
        batch,
        ..GenerateOptions::default()
    };
    let warm_up = Request::samples(&prompts[..1], 1);
    generate(&model, &warm_up, &options(4, 1), &mut ignore_tokens)?;
    for batch in batches {
        let batch: usize = batch.parse()?;
        let prompts = prompts.get(..batch).ok_or("fewer prompts than the batch size")?;
        let requests = Request::samples(prompts, 1);
        let started = Instant::now();
        let answers = generate(
            &model,
            &requests,
            &options(new_tokens.parse()?, batch),
            &mut ignore_tokens,
        )?;
        let secs = started.elapsed().as_secs_f64();
        let token_ids: Vec<_> = answers.iter().map(|answer| &answer.token_ids).collect();
        println!(
            "{}",
            serde_json::json!({"batch": batch, "secs": secs, "token_ids": token_ids})
        );
    }
    Ok(())
}
