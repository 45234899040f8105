//! One line of `rewrites.jsonl`.

use super::digest::digest;
use crate::config::{DataSection, ModelSection, Recipe, RunSection};
use crate::data::SampleReader;
use crate::error::TrainError;
use cadft_core::rewrite::Rejection;
use cadft_data::{Samples, TemplateTime, Tokenizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the log's format.
pub const FORMAT_VERSION: u32 = 1;

/// One line of `rewrites.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// The first line: the data set that is rewritten.
    Header(Header),
    /// The decision of a round about one sample.
    Sample(SampleRecord),
    /// The end of a round, after its samples.
    Round(RoundRecord),
    /// A sample got its original target back.
    Undo(UndoRecord),
}

/// The data set that is rewritten: everything needed to read it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The program's version.
    pub cadft: String,
    /// The model's directory, for its tokenizer.
    pub model: String,
    /// `[data]` of the recipe: which rows were read, and how they became tokens.
    pub data: DataSection,
    /// The seed of all decisions.
    pub seed: u64,
    /// Number of samples in the data set.
    pub samples: usize,
    /// [`digest`] of the data set as read.
    pub sha256: String,
    /// The time that the chat template wrote, if it writes one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub template_time: Option<TemplateTime>,
}

impl Header {
    /// A recipe with the settings for reading the data.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        Recipe {
            model: ModelSection {
                path: self.model.clone(),
                ..ModelSection::default()
            },
            data: self.data.clone(),
            run: RunSection {
                seed: self.seed,
                ..RunSection::default()
            },
            ..Recipe::default()
        }
    }

    /// A reader for the same data, given the tokenizer of the model's directory.
    ///
    /// # Errors
    /// If a template does not fit the tokenizer.
    pub fn reader(&self, tokenizer: Tokenizer) -> Result<SampleReader, TrainError> {
        let tokenizer = match self.template_time {
            Some(time) => tokenizer.with_template_time(time),
            None => tokenizer,
        };
        SampleReader::new(&self.recipe(), tokenizer)
    }

    /// The header of a log about `samples`, read with the settings `data` and the model at `model`.
    pub(super) fn new(
        (model, data): (&str, &DataSection),
        seed: u64,
        samples: &Samples,
        template_time: Option<TemplateTime>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            cadft: env!("CARGO_PKG_VERSION").to_owned(),
            model: model.to_owned(),
            data: data.clone(),
            seed,
            samples: samples.len(),
            sha256: digest(samples, &BTreeMap::new()),
            template_time,
        }
    }
}

/// The decision about a sample of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Its target was replaced.
    Replaced,
    /// It keeps its target.
    Kept,
}

/// The decision of a round about one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleRecord {
    /// The step after which the round took place; 0 for a round without training.
    pub step: usize,
    /// The index of the sample in the data set.
    pub sample: usize,
    /// The row's id.
    pub id: String,
    /// The decision.
    pub decision: Decision,
    /// The reason for keeping the target.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Rejection>,
    /// Moving average of its standardised scores.
    pub average: f64,
    /// Its newest standardised score.
    pub last_z: f64,
    /// Number of its scores.
    pub observations: u32,
    /// The seed of the round's candidates. The stream for this candidate is `sample`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seed: Option<u64>,
    /// Whether the candidate was written with the old target as a hint.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub guided: bool,
    /// Its target before the round, if a candidate was generated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<Side>,
    /// The candidate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<Side>,
}

/// A target: the original or the candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// As text, without the stop token.
    pub text: String,
    /// Its score (CADFT-1) under the model of the round; absent if it is not finite.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub score: Option<f64>,
    /// As tokens, including the stop token: the trained tokens.
    pub token_ids: Vec<u32>,
}

/// The end of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// The step after which it took place; 0 for a round without training.
    pub step: usize,
    /// Number of samples considered.
    pub chosen: usize,
    /// Of these, the number of samples for which a candidate was generated.
    pub drawn: usize,
    /// Of these, the number of samples whose target was replaced.
    pub replaced: usize,
    /// [`digest`] of the data set after the round.
    pub sha256: String,
}

/// A sample got its original target back. It will not be rewritten again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoRecord {
    /// The index of the sample in the data set.
    pub sample: usize,
    /// The row's id.
    pub id: String,
}

/// Whether the rewrite recorded at index `place` of a log was undone later.
#[must_use]
pub fn is_undone(records: &[Record], place: usize) -> bool {
    let Record::Sample(sample) = &records[place] else {
        return false;
    };
    (records[place..].iter())
        .any(|record| matches!(record, Record::Undo(undo) if undo.sample == sample.sample))
}
