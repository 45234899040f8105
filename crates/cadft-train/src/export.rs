//! How the model of a run is written for others: a Hugging Face directory, or a PEFT directory where only an adapter
//! was trained.

use crate::error::TrainError;
use crate::hub::Spec;
use crate::prepare::Prepared;
use cadft_model::adapter::{self, AdapterSave};
use cadft_model::checkpoint::{self, Dtype, SaveOptions};
use cadft_model::{AdapterConfig, CausalLm, ModelConfig, ModelError};
use std::path::Path;

/// Everything but the weights.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    config: ModelConfig,
    adapter: Option<AdapterConfig>,
    /// What the recipe calls the model; `OWNER/NAME` on the Hub.
    base_model: String,
    options: SaveOptions,
}

impl Export {
    pub(crate) fn new(prepared: &Prepared) -> Self {
        let recipe = &prepared.recipe;
        Self {
            config: prepared.config.clone(),
            adapter: prepared.adapter.clone(),
            base_model: match Spec::parse(&recipe.model.path) {
                Ok(Some(spec)) => spec.id,
                _ => recipe.model.path.clone(),
            },
            options: SaveOptions {
                dtype: recipe.checkpoint.dtype,
                carry_from: Some(prepared.model_directory.clone()),
                chat_template: (recipe.data.template).map(|preset| preset.source().to_owned()),
                ..SaveOptions::default()
            },
        }
    }

    /// Whether what is written holds every trained parameter bit for bit.
    pub(crate) fn is_exact(&self) -> bool {
        self.adapter.is_none() && self.options.dtype == Dtype::F32
    }

    /// Bytes of tensors that are written for `model`; at most, where it is an adapter.
    pub(crate) fn bytes(&self, model: &CausalLm) -> usize {
        let parameters = model.named_parameters();
        let written = |name: &str| self.adapter.is_none() || name.contains(".lora_");
        (parameters.iter().filter(|parameter| written(&parameter.name)))
            .map(|parameter| parameter.shape.iter().product::<usize>() * self.options.dtype.size())
            .sum()
    }

    /// Writes `model` to `directory`, replacing what is there.
    pub(crate) fn write(&self, directory: &Path, model: &CausalLm) -> Result<(), ModelError> {
        match &self.adapter {
            None => checkpoint::save(directory, model, &self.config, &self.options),
            Some(adapter) => {
                let parts = AdapterSave {
                    adapter,
                    config: &self.config,
                    base_model: &self.base_model,
                    carry_from: self.options.carry_from.clone(),
                };
                adapter::save(directory, model, &parts)
            }
        }
    }
}

/// The layers of the recipe's adapter in the model of `config`.
///
/// # Errors
/// Names that the model does not have.
pub(crate) fn targets(
    adapter: &AdapterConfig,
    config: &ModelConfig,
) -> Result<adapter::AdapterTargets, TrainError> {
    adapter.targets(config).map_err(|problems| {
        let lines: Vec<_> = problems
            .iter()
            .map(|problem| format!("`adapter`: {problem}"))
            .collect();
        TrainError::Mismatch {
            message: lines.join("\n"),
        }
    })
}
