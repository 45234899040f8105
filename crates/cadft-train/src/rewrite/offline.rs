//! One round on a data set without training, for users who train with other programs.

use super::digest::digest;
use super::record::{Header, Record};
use super::round::Generator;
use super::summary::RoundSummary;
use crate::config::DataSection;
use crate::error::TrainError;
use crate::evaluate::score_samples;
use burn::module::Module;
use cadft_core::Standardiser;
use cadft_core::rewrite::Tracker;
use cadft_data::{Example, Samples};
use std::collections::BTreeMap;
use std::time::Instant;

/// The data set and the model's directory, as recorded in the log.
#[derive(Clone, Copy, Debug)]
pub struct Offline<'a> {
    /// The model's directory.
    pub model: &'a str,
    /// The data settings: which rows were read, and how they became tokens.
    pub data: &'a DataSection,
}

/// The result of an offline round.
#[derive(Clone, Debug, PartialEq)]
pub struct OfflineRound {
    /// The log.
    pub records: Vec<Record>,
    /// The counts.
    pub summary: RoundSummary,
}

/// Runs one round over `samples`, standardised once with all of them as the batch; `None` if it was stopped.
///
/// `rewrite.min-observations` must be 1, because each sample is observed once.
///
/// # Errors
/// Errors of the model or the tokenizer.
pub fn rewrite_offline(
    generator: &Generator<'_>,
    samples: &Samples,
    source: &Offline<'_>,
) -> Result<Option<OfflineRound>, TrainError> {
    let started = Instant::now();
    let model = generator.model.valid();
    let scores: Vec<f64> = score_samples(&model, samples, generator.micro)
        .map(|score| score.nll)
        .collect();
    let batch: Standardiser = scores.iter().copied().collect();
    let mut tracker = Tracker::new(samples.len(), 0.0);
    for (sample, score) in scores.iter().enumerate() {
        tracker.observe(sample, batch.z(*score));
    }
    let Some(mut round) = generator.round(0, &tracker, &|sample| samples.get(sample))? else {
        return Ok(None);
    };
    round.summary.elapsed_secs = started.elapsed().as_secs_f64();
    let replaced: BTreeMap<usize, Example> = round.replaced.iter().cloned().collect();
    let summary = round.summary.clone();
    let time = generator.tokenizer.template_time();
    let header = Header::new((source.model, source.data), generator.seed, samples, time);
    let records = std::iter::once(Record::Header(header))
        .chain(round.records(0, digest(samples, &replaced)))
        .collect();
    Ok(Some(OfflineRound { records, summary }))
}
