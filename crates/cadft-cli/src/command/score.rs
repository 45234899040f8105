//! `cadft score`: how compatible each demonstration is with a model.

mod summary;

use crate::args::ScoreArgs;
use crate::command::rewrite::write;
use crate::destination;
use crate::hint::UsageError;
use crate::model::{OpenModel, sources, warn_about};
use crate::output;
use anyhow::{Result, bail};
use cadft_core::{Compatibility, Standardiser};
use cadft_data::{Mask, TokenizeOptions, tokenize, write_parquet};
use cadft_train::evaluate::{SampleScore, kept_rows, score_samples};
use cadft_train::prepare::{check_examples, load_rows};
use cadft_train::rewrite::{SampleCompatibility, read_compatibility};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use summary::Audited;

/// One line of the answer.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    score: &'a SampleScore,
    /// CADFT-2 with every given sample as the batch.
    z: f64,
    /// CADFT-3.
    weight: f64,
    /// Moving average of `z` in a run; null where the run did not see the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    average: Option<Option<f64>>,
}

pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let averages = args.run.as_deref().map(read_compatibility).transpose()?;
    let sources = sources(&args.input.data, &args.input.source)?;
    if let Some(out) = &args.out {
        destination::file(out, destination::files_of(&sources))?;
        let read = [
            Some(Path::new(&args.input.model)),
            args.input.adapter.as_deref(),
            args.run.as_deref(),
        ];
        destination::file(out, read.into_iter().flatten())?;
    }
    let OpenModel {
        model,
        config,
        tokenizer,
    } = OpenModel::open(&args.input.model, args.input.adapter.as_deref(), &args.device)?;
    let rows = load_rows(&sources)?;
    let options = TokenizeOptions::new(config.max_position_embeddings, Mask::Assistant);
    let dataset = tokenize(&rows, &tokenizer, &options)?;
    check_examples(&dataset.examples, &config)?;
    warn_about(&dataset, config.max_position_embeddings);
    let scores = score_samples(&model, &dataset.examples, args.micro, tokenizer.pad_token_id());
    if let Some(bad) = scores.iter().find(|score| !score.nll.is_finite()) {
        bail!("sample `{}`: its likelihood is not a finite number", bad.id);
    }
    let averages = averages.map(|averages| matched(&scores, &averages)).transpose()?;
    let lines = lines(&scores, args.beta, averages.as_deref());
    answer(args.out.as_deref(), &lines)?;
    if !args.quiet {
        let kept = kept_rows(&rows, &dataset);
        let audited: Vec<Audited<'_>> = (lines.iter().zip(kept))
            .map(|(line, number)| Audited {
                id: &line.score.id,
                nll: line.score.nll,
                z: line.z,
                weight: line.weight,
                source: rows[number].source,
                row: &rows[number],
            })
            .collect();
        summary::show(&audited, &args.input.data, args.show);
    }
    Ok(())
}

fn lines<'a>(scores: &'a [SampleScore], beta: f64, averages: Option<&[Option<f64>]>) -> Vec<Line<'a>> {
    let batch: Standardiser = scores.iter().map(|score| score.nll).collect();
    let compatibility = Compatibility {
        beta,
        ..Compatibility::default()
    };
    (scores.iter().enumerate())
        .map(|(sample, score)| {
            let z = batch.z(score.nll);
            Line {
                score,
                z,
                weight: compatibility.weight(z),
                average: averages.map(|averages| averages[sample]),
            }
        })
        .collect()
}

/// The moving average of each sample by its id; of samples that share one, in order.
fn matched(scores: &[SampleScore], run: &[SampleCompatibility]) -> Result<Vec<Option<f64>>> {
    let mut by_id: HashMap<&str, Vec<Option<f64>>> = HashMap::new();
    for sample in run.iter().rev() {
        by_id.entry(&sample.id).or_default().push(sample.average);
    }
    let found: Vec<Option<Option<f64>>> = scores
        .iter()
        .map(|score| by_id.get_mut(score.id.as_str()).and_then(Vec::pop))
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

/// Prints the lines, or writes them to a file of the kind that its name says.
fn answer(out: Option<&Path>, lines: &[Line<'_>]) -> Result<()> {
    match out {
        Some(path) if path.extension().is_some_and(|extension| extension == "parquet") => {
            let records = lines
                .iter()
                .map(serde_json::to_value)
                .collect::<Result<Vec<_>, _>>()?;
            Ok(write_parquet(path, &records)?)
        }
        _ => {
            let mut text = String::new();
            for line in lines {
                text.push_str(&serde_json::to_string(line)?);
                text.push('\n');
            }
            out.map_or_else(|| output::json(&text), |path| write(path, &text))
        }
    }
}
