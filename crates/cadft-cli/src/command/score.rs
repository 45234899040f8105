//! `cadft score`.

use crate::args::ScoreArgs;
use crate::model::{OpenModel, sources, warn_about};
use crate::output;
use anyhow::{Context, Result, bail};
use cadft_core::{Compatibility, Standardiser};
use cadft_train::evaluate::{SampleScore, score_samples};
use cadft_train::prepare::load_examples;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// One line of the answer.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    score: &'a SampleScore,
    /// CADFT-2 with every given sample as the batch.
    z: f64,
    /// CADFT-3.
    weight: f64,
}

pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let sources = sources(&args.input.data, &args.input.source)?;
    let OpenModel {
        model,
        config,
        tokenizer,
    } = OpenModel::open(&args.input.model, args.input.adapter.as_deref(), &args.device)?;
    let dataset = load_examples(&sources, &tokenizer, &config)?;
    warn_about(&dataset, config.max_position_embeddings);
    let scores = score_samples(&model, &dataset.examples, args.micro, tokenizer.pad_token_id());
    if let Some(bad) = scores.iter().find(|score| !score.nll.is_finite()) {
        bail!("sample `{}`: its likelihood is not a finite number", bad.id);
    }
    let lines = lines(&scores, args.beta)?;
    match &args.out {
        Some(path) => write(path, &lines),
        None => output::text(&lines),
    }
}

fn lines(scores: &[SampleScore], beta: f64) -> Result<String> {
    let batch: Standardiser = scores.iter().map(|score| score.nll).collect();
    let compatibility = Compatibility {
        beta,
        ..Compatibility::default()
    };
    let mut lines = String::new();
    for score in scores {
        let z = batch.z(score.nll);
        let weight = compatibility.weight(z);
        let line = serde_json::to_string(&Line { score, z, weight })?;
        writeln!(lines, "{line}")?;
    }
    Ok(lines)
}

/// Writes under a temporary name, then renames.
fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let context = || format!("cannot write `{}`", path.display());
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    file.persist(path).with_context(context)?;
    Ok(())
}
