//! One line of `rewrites.jsonl`.

use super::digest::digest;
use crate::config::{DataSection, ModelSection, Recipe, RunSection};
use crate::data::SampleReader;
use crate::error::TrainError;
use cadft_core::rewrite::Rejection;
use cadft_data::{Samples, TemplateTime, Tokenizer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the log's format.
pub const FORMAT_VERSION: u32 = 1;

/// One line of `rewrites.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// The first line: what was rewritten.
    Header(Header),
    /// What a round decided on one sample.
    Sample(SampleRecord),
    /// The end of a round, after its samples.
    Round(RoundRecord),
    /// A sample got its original target back.
    Undo(UndoRecord),
}

/// What was rewritten: all that is needed to read the same data again.
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
    /// Samples of the data set.
    pub samples: usize,
    /// [`digest`] of the data set as it was read.
    pub sha256: String,
    /// The time that the chat template wrote, where it writes one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub template_time: Option<TemplateTime>,
}

impl Header {
    /// As much of a recipe as says how the data are read.
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

    /// Reads the data as they were read, with the tokenizer of the model's directory.
    ///
    /// # Errors
    /// A template that does not fit the tokenizer.
    pub fn reader(&self, tokenizer: Tokenizer) -> Result<SampleReader, TrainError> {
        let tokenizer = match self.template_time {
            Some(time) => tokenizer.with_template_time(time),
            None => tokenizer,
        };
        SampleReader::new(&self.recipe(), tokenizer)
    }

    /// The header of a log about `samples`, which were read as `data` says with the model at `model`.
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

/// What happened to a sample of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Its target was replaced.
    Replaced,
    /// It keeps its target.
    Kept,
}

/// What a round decided on one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The step after which the round took place; 0 for a round without training.
    pub step: usize,
    /// The sample's position in the data set.
    pub sample: usize,
    /// The row's id.
    pub id: String,
    /// What happened to it.
    pub decision: Decision,
    /// Why it keeps its target.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Rejection>,
    /// Moving average of its standardised scores.
    pub average: f64,
    /// The newest of them.
    pub last_z: f64,
    /// How many there were.
    pub observations: u32,
    /// The seed of the round's candidates; `sample` is the stream of it that this one was drawn from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seed: Option<u64>,
    /// Its target before the round, where a candidate was generated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<Side>,
    /// The candidate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<Side>,
}

/// A target: what was there, or what was generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// As text, without the stop token.
    pub text: String,
    /// Its score (CADFT-1) under the model of the round; absent where it is not a number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub score: Option<f64>,
    /// As tokens, the stop token included: what is trained.
    pub token_ids: Vec<u32>,
}

/// The end of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// The step after which it took place; 0 for a round without training.
    pub step: usize,
    /// Samples it looked at.
    pub chosen: usize,
    /// Of these, samples for which a candidate was generated.
    pub drawn: usize,
    /// Of these, samples whose target was replaced.
    pub replaced: usize,
    /// [`digest`] of the data set after it.
    pub sha256: String,
}

/// A sample got its original target back; it will not be rewritten again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoRecord {
    /// The sample's position in the data set.
    pub sample: usize,
    /// The row's id.
    pub id: String,
}

/// Whether the record at `place` of a log is of a sample that got its original target back later.
#[must_use]
pub fn is_undone(records: &[Record], place: usize) -> bool {
    let Record::Sample(sample) = &records[place] else {
        return false;
    };
    (records[place..].iter())
        .any(|record| matches!(record, Record::Undo(undo) if undo.sample == sample.sample))
}
