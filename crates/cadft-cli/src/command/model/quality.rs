//! What a format of stored weights changes in a model.

use super::logits::Logits;
use crate::args::{InputArgs, ScoringArgs};
use crate::console::Activity;
use crate::facts::Perplexities;
use crate::model::OpenInput;
use crate::{device, model};
use anyhow::Result;
use burn::tensor::Device;
use cadft_data::Samples;
use cadft_model::{CausalLm, checkpoint, gguf};
use cadft_step::Ranks;
use cadft_train::evaluate::{score_samples_watched, summarise};
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

/// Logits and perplexity of a model.
pub(super) struct Quality {
    device: Device,
    logits: Logits,
    data: Option<Measured>,
}

/// The samples of `--data`, and what they have before.
struct Measured {
    samples: Samples,
    micro: usize,
    perplexity: f64,
}

/// What has changed.
pub(super) struct Change {
    /// The largest difference of a logit, relative to the largest logit.
    pub(super) difference: f64,
    pub(super) perplexity: Option<Perplexities>,
}

impl Quality {
    /// That of a model directory; with data of `input`, on them as `recipe` says.
    pub(super) fn of(input: &InputArgs, recipe: Option<&str>) -> Result<Self> {
        let device = device::open(device::name(None))?;
        if input.data.is_empty() {
            let directory = Path::new(&input.model);
            model::check_weights(directory, &device)?;
            let loaded = checkpoint::load(directory, &device)?;
            return Ok(Self {
                logits: Logits::of(&loaded.model, &loaded.config),
                device,
                data: None,
            });
        }
        let opened = OpenInput::open(input, &ScoringArgs::of_recipe(recipe.map(str::to_owned)))?;
        let samples = opened.samples()?;
        Ok(Self {
            device,
            logits: Logits::of(&opened.model, &opened.config),
            data: Some(Measured {
                perplexity: perplexity(&opened.model, &samples, opened.micro),
                samples,
                micro: opened.micro,
            }),
        })
    }

    /// How the model in a GGUF file differs.
    pub(super) fn change_to(&self, file: &Path) -> Result<Change> {
        let (config, model) = gguf::load_gguf(file, &self.device)?;
        let perplexity = self.data.as_ref().map(|data| Perplexities {
            before: data.perplexity,
            after: perplexity(&model, &data.samples, data.micro),
        });
        Ok(Change {
            difference: self.logits.difference(&Logits::of(&model, &config)),
            perplexity,
        })
    }
}

fn perplexity(model: &CausalLm, samples: &Samples, micro: usize) -> f64 {
    let scoring = Activity::of("evaluating", samples.len());
    let watch = |done| {
        scoring.at(done);
        ControlFlow::Continue(())
    };
    summarise(score_samples_watched(Ranks::solo(), model, samples, micro, watch)).perplexity
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logits differ by {:.1e} of the largest", self.difference)?;
        match &self.perplexity {
            Some(Perplexities { before, after }) => {
                let percent = (after / before - 1.0) * 100.0;
                write!(f, ", perplexity {before:.4} becomes {after:.4} ({percent:+.2} %)")
            }
            None => Ok(()),
        }
    }
}
