//! Trains an adapter, merges it into the weights of its model, and writes a model that needs no adapter.
//!
//! `cargo run --release --example lora_and_merge`

use cadft_data::{Mask, TokenizeOptions, Tokenizer, read_file, tokenize};
use cadft_model::checkpoint::{self, SaveOptions};
use cadft_model::{CausalLm, adapter};
use cadft_train::evaluate::{score_samples, summarise};
use cadft_train::{Prepared, RunDirectory, config, device, train};
use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn main() -> Result<(), Box<dyn Error>> {
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/../cadft-cli/assets/quickstart");
    let runs = tempfile::tempdir()?;
    let device = device::parse("flex")?;

    let text = format!(
        "objective = 'nll'\n[model]\npath = '{assets}'\n[data]\ntrain = ['{assets}/train.jsonl']\ncache = 'off'\n\
         [batch]\nglobal = 16\nmicro = 8\n[optimizer]\nlr = 5e-3\n[schedule]\nsteps = 8\n\
         [adapter]\nrank = 8\nalpha = 16.0\n"
    );
    let prepared = Prepared::new(config::parse("example", &text, &[])?, &device)?;
    let mut directory = RunDirectory::create(&runs.path().join("run"), &prepared.recipe, "flex")?;
    let stop = AtomicBool::new(false);
    let summary = train(&prepared, prepared.model()?, &mut directory, &stop, &mut |_| {})?;

    // The run writes a PEFT directory. Load its adapter onto its base model.
    let base = checkpoint::load(Path::new(assets), &device)?;
    let adapted = adapter::load(&summary.model, base.model.clone(), &base.config)?;
    let merged = adapted.model.clone().merge_adapter();
    let out = runs.path().join("merged");
    let options = SaveOptions {
        carry_from: Some(assets.into()),
        ..SaveOptions::default()
    };
    checkpoint::save(&out, &merged, &adapted.config, &options)?;
    let merged = checkpoint::load(&out, &device)?.model;

    let [before, with_adapter, merged] =
        [&base.model, &adapted.model, &merged].map(|model| nll(model, assets));
    let (before, with_adapter, merged) = (before?, with_adapter?, merged?);
    println!("NLL {before:.4} before, {with_adapter:.4} with the adapter, {merged:.4} merged");
    if with_adapter < before && (merged - with_adapter).abs() < 1e-4 {
        return Ok(());
    }
    Err("the adapter learned nothing, or merging changed it".into())
}

/// The mean negative log-likelihood of the evaluation file, nats a token.
fn nll(model: &CausalLm, assets: &str) -> Result<f64, Box<dyn Error>> {
    let rows = read_file(&Path::new(assets).join("eval.jsonl"))?;
    let tokenizer = Tokenizer::from_dir(Path::new(assets))?;
    let samples = tokenize(&rows, &tokenizer, &TokenizeOptions::new(256, Mask::Assistant))?.examples;
    Ok(summarise(score_samples(model, &samples, 16)).nll)
}
