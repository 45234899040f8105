//! Writes the model of a run for other programs: as a Hugging Face directory, or as a PEFT directory if only an adapter
//! was trained.

use crate::hub::Spec;
use crate::prepare::Prepared;
use crate::warning::Warning;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use cadft_data::Preset;
use cadft_model::adapter::{self, AdapterSave, BaseModel};
use cadft_model::checkpoint::{self, ChatFormat, Dtype, SaveOptions};
use cadft_model::{AdapterConfig, CausalLm, ModelConfig, ModelError};
use std::path::Path;

/// Everything that is written besides the weights.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    config: ModelConfig,
    adapter: Option<AdapterConfig>,
    base_model: BaseModel,
    options: SaveOptions,
}

impl Export {
    pub(crate) fn new(prepared: &Prepared) -> Self {
        let recipe = &prepared.recipe;
        Self {
            config: prepared.config.clone(),
            adapter: prepared.adapter.clone(),
            base_model: base_model(&recipe.model.path),
            options: SaveOptions {
                dtype: recipe.checkpoint.dtype,
                carry_from: Some(prepared.carried.clone()),
                chat: ChatFormat {
                    template: (recipe.data.template).map(|preset| preset.source().to_owned()),
                    preamble: preamble(&recipe.data.template_variables),
                    eos_token: (recipe.data.template.and_then(Preset::turn_end)).map(str::to_owned),
                    stop_token_ids: prepared.tokenizer.stop_token_ids().to_vec(),
                },
                ..SaveOptions::default()
            },
        }
    }

    /// Whether the written files store every trained parameter bit for bit.
    pub(crate) fn is_exact(&self) -> bool {
        self.adapter.is_none() && self.options.dtype == Dtype::F32
    }

    /// The number format that weights are rounded to; `None` if they are not rounded, as in adapters.
    pub(crate) fn rounds_to(&self) -> Option<Dtype> {
        let dtype = self.options.dtype;
        (self.adapter.is_none() && dtype != Dtype::F32).then_some(dtype)
    }

    /// The model with the values that its written files have.
    pub(crate) fn as_saved(&self, model: CausalLm) -> CausalLm {
        match self.rounds_to() {
            // Weights that do not fit the format are saved without rounding.
            Some(dtype) if checkpoint::check_fits(&model, dtype).is_ok() => model.map(&mut Rounded(dtype)),
            _ => model,
        }
    }

    /// Number of bytes of tensors that are written for `model`; for an adapter, an upper bound.
    pub(crate) fn bytes(&self, model: &CausalLm) -> usize {
        let parameters = model.named_parameters();
        let written = |name: &str| self.adapter.is_none() || name.contains(".lora_");
        (parameters.iter().filter(|parameter| written(&parameter.name)))
            .map(|parameter| parameter.shape.iter().product::<usize>() * self.options.dtype.size())
            .sum()
    }

    /// Writes `model` to `directory`, and replaces what is there. If weights are too large for the recipe's format, the
    /// model is written in f32 and a warning is returned.
    pub(crate) fn write(&self, directory: &Path, model: &CausalLm) -> Result<Option<Warning>, ModelError> {
        if let Some(adapter) = &self.adapter {
            let parts = AdapterSave {
                adapter,
                config: &self.config,
                base_model: self.base_model.clone(),
                carry_from: self.options.carry_from.clone(),
                chat: self.options.chat.clone(),
            };
            adapter::save(directory, model, &parts)?;
            return Ok(None);
        }
        let saved = checkpoint::save(directory, model, &self.config, &self.options);
        let Err(ModelError::F16Overflow { tensor, value }) = saved else {
            return saved.map(|()| None);
        };
        let options = SaveOptions {
            dtype: Dtype::F32,
            ..self.options.clone()
        };
        checkpoint::save(directory, model, &self.config, &options)?;
        Ok(Some(Warning::new(
            format!("`{tensor}` holds `{value}`, for which `f16` has no number: the model is saved in f32"),
            "set `checkpoint.dtype` to `bf16` or `f32`",
        )))
    }
}

/// The name of a recipe's model in PEFT files.
fn base_model(path: &str) -> BaseModel {
    match Spec::parse(path) {
        Ok(Some(spec)) => BaseModel {
            name: spec.id,
            revision: (spec.revision != "main").then_some(spec.revision),
        },
        _ => path.into(),
    }
}

/// Defaults for the variables of a chat template, as its first lines. Other programs then render conversations as the
/// run did, unless they set the variables to other values.
fn preamble(variables: &toml::Table) -> String {
    let is_name = |name: &str| {
        name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
            && name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
    };
    (variables.iter())
        .filter(|(name, _)| is_name(name))
        .map(|(name, value)| {
            let value = serde_json::to_value(value).unwrap_or_default();
            format!("{{%- set {name} = {name} if {name} is defined else {value} %}}\n")
        })
        .collect()
}

/// Rounds parameters to the values that a file of this type stores.
struct Rounded(Dtype);

impl ModuleMapper for Rounded {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let (dims, device) = (tensor.dims(), tensor.device());
            let values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
            Tensor::from_data(TensorData::new(self.0.rounded(&values), dims), &device)
        })
    }
}
