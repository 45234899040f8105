//! Seconds of greedy generation at several batch sizes, measured in a separate process: `cargo xtask bench generate`.
//!
//! `generate-speed MODEL PROMPTS.json NEW_TOKENS BATCH...`: the file has one array of token ids for each prompt. Prints
//! one JSON object for each batch size.

use cadft_model::generate::{Request, generate, ignore_tokens};
use cadft_model::{GenerateOptions, checkpoint};
use std::path::Path;
use std::time::Instant;

/// CPU time of all threads of this process so far, in seconds; Linux counts it in hundredths.
fn cpu_secs() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, after)| after)
        .split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

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
        let (started, cpu) = (Instant::now(), cpu_secs());
        let answers = generate(
            &model,
            &requests,
            &options(new_tokens.parse()?, batch),
            &mut ignore_tokens,
        )?;
        let (secs, cpu) = (started.elapsed().as_secs_f64(), cpu_secs() - cpu);
        let token_ids: Vec<_> = answers.iter().map(|answer| &answer.token_ids).collect();
        println!(
            "{}",
            serde_json::json!({"batch": batch, "secs": secs, "cpu_secs": cpu, "token_ids": token_ids})
        );
    }
    Ok(())
}
