//! The likelihood of every sample of a file, and the rows that the model finds least likely.
//!
//! `cargo run --release --example score`

use burn::tensor::Device;
use cadft_data::{Mask, TokenizeOptions, Tokenizer, read_file, tokenize};
use cadft_model::checkpoint;
use cadft_step::{SampleScore, score_samples};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cadft-cli/assets/quickstart");

    // No gradient is needed, so the device is one without autodiff.
    let model = checkpoint::load(&assets, &Device::flex())?.model;
    let tokenizer = Tokenizer::from_dir(&assets)?;
    let rows = read_file(&assets.join("eval.jsonl"))?;
    let options = TokenizeOptions::new(256, Mask::Assistant);
    let samples = tokenize(&rows, &tokenizer, &options)?.examples;

    // Scores are computed lazily: memory does not depend on the size of the data set.
    let mut scores: Vec<SampleScore> = score_samples(&model, &samples, 16).collect();

    let supervised: usize = scores.iter().map(|score| score.supervised).sum();
    let nats: f64 = scores
        .iter()
        .map(|score| score.nll * score.supervised as f64)
        .sum();
    println!("{} samples, NLL {:.4}", scores.len(), nats / supervised as f64);
    scores.sort_by(|a, b| b.nll.total_cmp(&a.nll));
    for score in scores.iter().take(5) {
        println!("{:.3}  line {}  {}", score.nll, score.origin.line, score.id);
    }
    Ok(())
}
