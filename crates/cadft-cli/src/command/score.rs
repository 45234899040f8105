//! `cadft score`: how compatible each demonstration is with a model.
//!
//! The samples are read twice: once to score them, and once to print them, because a z-score needs the scores of all
//! samples. Only the scores are kept in memory.

mod averages;
mod extremes;
mod lines;
mod split;
mod summary;

pub(super) use lines::Line;

use crate::args::ScoreArgs;
use crate::console::{self, Activity};
use crate::destination;
use crate::model::OpenInput;
use anyhow::{Result, bail};
use cadft_core::{Compatibility, Standardiser};
use cadft_data::Samples;
use cadft_step::Ranks;
use cadft_train::evaluate::score_samples_watched;
use cadft_train::rewrite::read_compatibility;
use lines::Lines;
use split::Split;
use std::ops::ControlFlow;
use summary::Summary;

pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let averages = args.run.as_deref().map(read_compatibility).transpose()?;
    destination::file_of(args.out.as_deref(), &args.input)?;
    if let Some(out) = &args.out {
        destination::file(out, &args.run)?;
    }
    let mut split = Split::of(args)?;
    let opened = OpenInput::open(&args.input, &args.scoring)?;
    let samples = opened.samples()?;
    let averages = averages
        .map(|averages| averages::of_samples(&samples, &averages))
        .transpose()?;
    let mut scores = Vec::with_capacity(samples.len());
    let scoring = Activity::of("scoring", samples.len());
    let watch = |done| {
        scoring.at(done);
        ControlFlow::Continue(())
    };
    for score in score_samples_watched(Ranks::solo(), &opened.model, &samples, opened.micro, watch) {
        if !score.nll.is_finite() {
            bail!(
                "{}: its likelihood is not a finite number",
                score.origin.name_of(&score.id)
            );
        }
        scores.push(score.nll);
    }
    drop(scoring);
    let summary = print(args, &samples, &scores, averages.as_deref(), split.as_mut())?;
    if !console::is_quiet() {
        summary.show(&args.input.data, &opened.data.train)?;
    }
    if let Some(split) = split {
        console::next::kept(args.input.given(), split.write(&opened.data.train)?);
    } else {
        console::next::scored(args.input.given(), &args.input.data, args.out.is_some());
    }
    Ok(())
}

/// Prints a line for each sample, or writes it to the `--out` file.
fn print(
    args: &ScoreArgs,
    samples: &Samples,
    scores: &[f64],
    averages: Option<&[Option<f64>]>,
    mut split: Option<&mut Split>,
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
        if let Some(split) = &mut split {
            split.push(&sample.origin, z);
        }
    }
    lines.end()?;
    Ok(summary)
}
