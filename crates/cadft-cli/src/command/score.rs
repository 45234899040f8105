//! `cadft score`: how compatible each demonstration is with a model.
//!
//! The samples are looked at twice: once by the model, and once for what is printed, which takes the scores of all of
//! them. In memory are only their scores.

mod extremes;
mod lines;
mod summary;

use crate::args::ScoreArgs;
use crate::destination;
use crate::hint::UsageError;
use crate::model::{OpenInput, warn_about};
use anyhow::{Result, bail};
use cadft_core::{Compatibility, Standardiser};
use cadft_data::Samples;
use cadft_train::evaluate::score_samples;
use cadft_train::rewrite::{SampleCompatibility, read_compatibility};
use lines::{Line, Lines};
use std::collections::HashMap;
use summary::Summary;

pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let averages = args.run.as_deref().map(read_compatibility).transpose()?;
    destination::file_of(args.out.as_deref(), &args.input)?;
    if let Some(out) = &args.out {
        destination::file(out, &args.run)?;
    }
    let OpenInput {
        model,
        config,
        reader,
        data,
    } = OpenInput::open(&args.input, &args.tokens, &args.device)?;
    let samples = reader.samples(&data.train, &config)?;
    warn_about(samples.report(), data.max_length);
    let averages = averages
        .map(|averages| matched(&samples, &averages))
        .transpose()?;
    let mut scores = Vec::with_capacity(samples.len());
    for score in score_samples(&model, &samples, args.micro) {
        if !score.nll.is_finite() {
            bail!("sample `{}`: its likelihood is not a finite number", score.id);
        }
        scores.push(score.nll);
    }
    let summary = print(args, &samples, &scores, averages.as_deref())?;
    if !args.quiet {
        summary.show(&args.input.data, &data.train)?;
    }
    Ok(())
}

/// Prints a line for each sample, or writes it to the file of `--out`.
fn print(
    args: &ScoreArgs,
    samples: &Samples,
    scores: &[f64],
    averages: Option<&[Option<f64>]>,
) -> Result<Summary> {
    let batch: Standardiser = scores.iter().copied().collect();
    let compatibility = Compatibility {
        beta: args.beta,
        ..Compatibility::default()
    };
    let mut lines = Lines::begin(args.out.as_deref())?;
    let mut summary = Summary::new(scores, args.show);
    for (number, (sample, &nll)) in samples.iter().zip(scores).enumerate() {
        let z = batch.z(nll);
        let line = Line {
            id: &sample.id,
            tokens: sample.token_ids.len(),
            supervised: sample.supervised(),
            nll,
            z,
            weight: compatibility.weight(z),
            average: averages.map(|averages| averages[number]),
            path: &sample.origin.path,
            line: sample.origin.line,
        };
        lines.push(&line)?;
        summary.push(&line, &sample.origin);
    }
    lines.end()?;
    Ok(summary)
}

/// The moving average of each sample by its id; of samples that share one, in order.
fn matched(samples: &Samples, run: &[SampleCompatibility]) -> Result<Vec<Option<f64>>> {
    let mut by_id: HashMap<&str, Vec<Option<f64>>> = HashMap::new();
    for sample in run.iter().rev() {
        by_id.entry(&sample.id).or_default().push(sample.average);
    }
    let found: Vec<Option<Option<f64>>> = samples
        .iter()
        .map(|sample| by_id.get_mut(sample.id.as_str()).and_then(Vec::pop))
        .collect();
    if found.iter().all(Option::is_none) {
        return Err(UsageError::new(
            "`--run`: the run saw none of these samples",
            "give the files that the run was trained on",
        )
        .into());
    }
    Ok(found.into_iter().map(Option::flatten).collect())
}
