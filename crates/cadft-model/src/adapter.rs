//! Adapters: LoRA and DoRA beside frozen weights, in PEFT's layout on disk.
//!
//! | file | what it holds |
//! |---|---|
//! | `adapter/base.rs` | in which format frozen linear weights are held |
//! | `adapter/choices.rs` | kind, scaling and layer names, as recipes write them |
//! | `adapter/targets.rs` | which layers get an update, which modules are trained in full |
//! | `adapter/peft.rs` | `adapter_config.json` |
//! | `adapter/resolve.rs` | which layers of a model the names in that file select |
//! | `adapter/store.rs` | [`load`] and [`save`] of PEFT directories |
//! | `adapter/stored.rs` | the tensors of a PEFT directory |
//! | `adapter/head.rs` | updates of the embedding and of the output weight |
//! | `adapter/dropout.rs` | the random masks of dropout |
//!
//! The update itself is [`crate::decoder::LowRank`].

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Uniform};

use crate::decoder::{CausalLm, Linear, LowRank, Precision};
use crate::parameters::{Parameters, Values, name_hash, weight_name};

mod base;
mod choices;
mod config;
mod dropout;
mod head;
#[cfg(feature = "files")]
mod peft;
#[cfg(feature = "files")]
mod resolve;
#[cfg(feature = "files")]
mod store;
#[cfg(feature = "files")]
mod stored;
mod targets;

#[cfg(feature = "files")]
pub use crate::checkpoint::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
pub use base::{BaseFormat, FrozenBase};
pub use cadft_kernels::PackedFormat;
pub use choices::{AdapterKind, AdapterScaling, TargetModules};
pub use config::{AdapterConfig, Tying};
pub use dropout::DropoutClock;
#[cfg(feature = "files")]
pub use peft::{BaseModel, WITHOUT_EFFECT};
#[cfg(feature = "files")]
pub use resolve::{resolve, saved_modules};
#[cfg(feature = "files")]
pub use store::{Adapted, AdapterSave, load, read_config, save};
pub use targets::AdapterTargets;

impl CausalLm {
    /// Freezes the model and attaches an untrained adapter, which does not change the output yet: `A` is uniform in
    /// `±1/√input`, `B` is 0, and DoRA's magnitudes are the norms of the weight's rows. The values depend on `seed`
    /// alone.
    #[must_use]
    pub fn with_adapter(self, config: &AdapterConfig, targets: &AdapterTargets, seed: u64) -> Self {
        let device = self.device();
        let mut model = self.attach(config, targets, &device, &mut |name, shape| {
            initial_values(name, shape, seed)
        });
        for (_, linear) in targets::linears_mut(&mut model) {
            let magnitude = linear
                .adapter
                .as_mut()
                .and_then(|adapter| adapter.lora_magnitude_vector.take());
            if let (Some(magnitude), Some(adapter)) = (magnitude, &mut linear.adapter) {
                let norms = linear.weight.row_squares().sqrt().squeeze_dim(1);
                adapter.lora_magnitude_vector = Some(magnitude.map(|_| norms).set_require_grad(true));
            }
        }
        model
    }

    /// Freezes everything except `modules_to_save`, and attaches updates with the given values.
    pub(crate) fn attach(
        self,
        config: &AdapterConfig,
        targets: &AdapterTargets,
        device: &Device,
        values: &mut Values<'_>,
    ) -> Self {
        let mut model = self.map(&mut Freeze {
            path: vec![],
            saved: &targets.saved,
        });
        let clock = model.model.dropout.clone();
        let mut make = Parameters {
            device,
            base: None,
            values,
        };
        for (name, linear) in targets::linears_mut(&mut model) {
            if let Some((_, shape)) = targets.layers.iter().find(|(layer, _)| *layer == name) {
                linear.adapter = Some(LowRank::new(&name, *shape, config, &clock, &mut make));
            }
        }
        model
    }

    /// The model with new values for the named parameters.
    pub(crate) fn assign(self, values: &BTreeMap<String, Vec<f32>>) -> Self {
        self.map(&mut Assign { path: vec![], values })
    }

    /// Sets the number format of the model's matrix products.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        for (_, linear) in targets::linears_mut(&mut self) {
            linear.precision = precision;
        }
        for block in &mut self.model.layers {
            if let Some(attention) = &mut block.self_attn {
                attention.set_precision(precision);
            }
        }
        self.model.precision = precision;
        self
    }

    /// Whether any layer has an update.
    #[must_use]
    pub fn has_adapter(&self) -> bool {
        self.updates().next().is_some()
    }

    /// Whether training passes apply adapter dropout. Passes without gradient never do.
    #[must_use]
    pub fn has_adapter_dropout(&self) -> bool {
        self.updates().any(LowRank::has_dropout)
    }

    /// The layers whose magnitudes cannot be trained, one message each: DoRA divides by the norms of rows, and some of
    /// these norms are 0.
    #[must_use]
    pub fn zero_rows(&self) -> Vec<String> {
        self.linears()
            .filter_map(|(name, linear)| {
                let rows = linear.adapter.as_ref()?.zero_rows(&linear.weight);
                (rows > 0).then(|| {
                    format!("`{name}`: {rows} rows of its weight are 0, and DoRA divides by their norm")
                })
            })
            .collect()
    }

    /// The updates of all layers that have one.
    fn updates(&self) -> impl Iterator<Item = &LowRank> {
        self.linears().filter_map(|(_, linear)| linear.adapter.as_ref())
    }

    /// The linear layers, by name; not the output weight and the routers of experts.
    fn linears(&self) -> impl Iterator<Item = (String, &Linear)> {
        let of_inputs = self.model.per_layer_model_projection.iter();
        let of_inputs = of_inputs.map(|linear| ("model.per_layer_model_projection".to_owned(), linear));
        let of_blocks = self.model.layers.iter().enumerate().flat_map(|(index, block)| {
            let parts = block.linears();
            (parts.into_iter()).map(move |(part, linear)| (format!("model.layers.{index}.{part}"), linear))
        });
        of_inputs.chain(of_blocks)
    }

    /// Whether any linear weight is packed.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.linears().any(|(_, linear)| linear.weight.is_packed())
    }

    /// The layers among `modules`, which are trained whole, that are packed and cannot be; one message each.
    #[cfg(feature = "files")]
    fn packed_among(&self, modules: &[String]) -> Vec<String> {
        self.linears()
            .filter(|(name, linear)| linear.weight.is_packed() && modules.contains(name))
            .map(|(name, _)| {
                format!("`modules_to_save`: the weight of `{name}` is packed, and would be trained")
            })
            .collect()
    }

    /// Adds the updates into the weights, for inference. The parameters of the result are off the autodiff graph. Packed
    /// weights are unpacked, with an update or not.
    #[must_use]
    pub fn merge_adapter(self) -> Self {
        let mut model = self;
        for (name, linear) in targets::linears_mut(&mut model) {
            let merged = match linear.adapter.take() {
                Some(adapter) => adapter.merged(&linear.weight),
                None if linear.weight.is_packed() => linear.weight.val(),
                None => continue,
            };
            linear.weight = linear.weight.clone().replaced(&name, merged.detach());
        }
        model
    }

    /// A frozen copy without adapters, for comparison during training. A fresh adapter is the identity, so
    /// both models are equal at the start of training. Parameters share memory until they are trained.
    #[must_use]
    pub fn reference(&self) -> Self {
        let mut model = self.valid();
        for (_, linear) in targets::linears_mut(&mut model) {
            linear.adapter = None;
        }
        model
    }

    /// Sets the seed of the adapter dropout masks until the next call. Use a separate seed for each step.
    pub fn seed_dropout(&self, seed: u64) {
        self.model.dropout.set(seed);
    }

    /// The seed of the masks of the next forward pass.
    #[must_use]
    pub fn dropout_seed(&self) -> u64 {
        self.model.dropout.now()
    }
}

/// Assigns new values to parameters by name.
struct Assign<'a> {
    path: Vec<String>,
    values: &'a BTreeMap<String, Vec<f32>>,
}

impl ModuleMapper for Assign<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(values) = self.values.get(&weight_name(&self.path)) else {
            return param;
        };
        let (dims, device) = (param.dims(), param.device());
        let is_trained = param.is_require_grad();
        param
            .map(|_| Tensor::from_data(TensorData::new(values.clone(), dims), &device))
            .set_require_grad(is_trained)
    }
}

/// Marks which parameters are trained.
struct Freeze<'a> {
    path: Vec<String>,
    saved: &'a [String],
}

impl ModuleMapper for Freeze<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = weight_name(&self.path);
        let trained = self
            .saved
            .iter()
            .any(|module| targets::is_parameter_of(&name, module));
        param.set_require_grad(trained)
    }
}

/// Uniform for `A`, 0 for `B`, 1 for magnitudes. Each parameter has a separate random stream, as in the base model.
fn initial_values(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let count = shape.iter().product();
    if name.ends_with(".lora_magnitude_vector") {
        return vec![1.0; count];
    }
    let &[_, input] = shape else {
        return vec![0.0; count];
    };
    if !name.ends_with(".lora_A.weight") {
        return vec![0.0; count];
    }
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(name_hash(name));
    let bound = (1.0 / (input as f64).sqrt()) as f32;
    match Uniform::new(-bound, bound) {
        Ok(uniform) => uniform.sample_iter(generator).take(count).collect(),
        Err(_) => vec![0.0; count],
    }
}
