//! `AdamW` with decoupled weight decay on matrices only: norms and biases do not decay.
//!
//! ```text
//! m ← β₁·m + (1−β₁)·g          v ← β₂·v + (1−β₂)·g²
//! θ ← (1−η·λ)·θ − η·(m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε)
//! ```
//!
//! `g` is the gradient times the clipping factor, which is on the device. If the factor is negative, the device changes
//! nothing. The host corrects the number of updates `t` when it reads the factor ([`AdamW::left_out`]).
//!
//! Loshchilov and Hutter, Decoupled Weight Decay Regularization (arXiv 1711.05101), algorithm 2. The operations and
//! their order are those of Burn's `AdamW`, fused into one pass on backends that have a kernel (`update.rs`). The
//! moments are kept here, by parameter, so that a checkpoint stores them bit for bit under the names of their weights.
//!
//! Moments are kept on the device in f32, or in host memory in f32 or in fewer bits ([`MomentFormat`], `host.rs`).

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use cadft_model::ParamGradients;
use cadft_model::parameters::{self, NamedTensor};
use host::{HostMoments, Noise};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use state::{Export, Import};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use update::{Rates, update};

pub use host::moment_bytes;
pub use state::STATE_PARTS;
pub(crate) use update::{add, sum_of_squares};

mod host;
mod state;
mod update;

/// How the moments are kept between updates. The update itself is computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MomentFormat {
    /// In f32, on the device.
    #[default]
    F32,
    /// In bf16 with stochastic rounding, which depends on the seed alone. On a CPU.
    Bf16,
    /// In 8 bits with a scale for each 256, with the codes of bitsandbytes; in f32 if a parameter has fewer than 4096
    /// values. On a CPU.
    Int8,
    /// In f32 in the memory of the host, where the update is computed too.
    Host,
}

impl MomentFormat {
    /// Whether the values of a device must be in host memory for it.
    #[must_use]
    pub fn is_of_host(self) -> bool {
        matches!(self, Self::Bf16 | Self::Int8)
    }
}

/// Options of [`AdamW`] besides the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the two moments, β₁ and β₂; the DFT code's: 0.9, 0.95.
    pub betas: [f64; 2],
    /// Decoupled weight decay λ; the DFT code's: 0.01.
    pub weight_decay: f64,
    /// ε, added to the root of the second moment; `PyTorch`'s: 1e-8.
    pub eps: f64,
    /// Factor of the learning rate of `lora_B`, and of what has one axis, such as `DoRA`'s magnitudes: LoRA+ (arXiv
    /// 2402.12354), with the groups of PEFT's `create_loraplus_optimizer`. 1 for one learning rate.
    pub loraplus_lr_ratio: f64,
    /// How the moments are kept.
    pub moments: MomentFormat,
    /// Seed of stochastic rounding.
    pub seed: u64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            weight_decay: 0.01,
            eps: 1e-8,
            loraplus_lr_ratio: 1.0,
            moments: MomentFormat::F32,
            seed: 42,
        }
    }
}

/// The optimizer and its moments.
///
/// ```
/// use burn::module::Param;
/// use cadft_model::ParamGradients;
/// use burn::tensor::{Device, Tensor};
/// use cadft_step::{AdamW, AdamWOptions};
///
/// let device = Device::flex().autodiff();
/// let weight = Param::from_tensor(Tensor::<1>::from_data([1.0, -2.0], &device).require_grad());
/// let loss = weight.val().powi_scalar(2).sum();
/// let gradients = ParamGradients::from_grads(loss.backward(), &weight);
///
/// let mut optimizer = AdamW::new(&AdamWOptions { weight_decay: 0.0, ..AdamWOptions::default() });
/// let not_clipped = Tensor::ones([1], &device.inner());
/// let weight = optimizer.step(0.1, weight, gradients, not_clipped);
/// // With bias correction, the first update has the size of the learning rate, whatever the size of the gradient.
/// let values: Vec<f32> = weight.val().into_data().iter().collect();
/// assert!((values[0] - 0.9).abs() < 1e-6 && (values[1] + 1.9).abs() < 1e-6);
/// ```
pub struct AdamW {
    betas: [f32; 2],
    eps: f32,
    weight_decay: f64,
    loraplus_lr_ratio: f64,
    format: MomentFormat,
    seed: u64,
    moments: Moments,
    /// The parameters that the last update changed.
    last: Vec<ParamId>,
    /// For parameters that are cut between ranks, the rows that this rank updates.
    rows: HashMap<ParamId, Range<usize>>,
}

/// The state of each parameter that has been updated.
#[derive(Default)]
struct Moments {
    first: ParamGradients,
    second: ParamGradients,
    /// Moments in host memory, and their shapes. A parameter has either these or those above.
    on_host: HashMap<ParamId, (Vec<usize>, HostMoments)>,
    updates: HashMap<ParamId, i32>,
}

impl AdamW {
    /// An optimizer without moments.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the optimizer computes in f32")]
    pub fn new(options: &AdamWOptions) -> Self {
        Self {
            betas: options.betas.map(|beta| beta as f32),
            eps: options.eps as f32,
            weight_decay: f64::from(options.weight_decay as f32),
            loraplus_lr_ratio: options.loraplus_lr_ratio,
            format: options.moments,
            seed: options.seed,
            moments: Moments::default(),
            last: vec![],
            rows: HashMap::new(),
        }
    }

    /// From now on, updates only these rows of these parameters. Their gradients and moments hold these rows only.
    pub(crate) fn own(&mut self, rows: HashMap<ParamId, Range<usize>>) {
        self.rows = rows;
    }

    /// Updates every parameter that has a gradient, with the gradient times `factor`, `[1]`, on the parameter's device.
    /// If `factor` is negative, parameters and moments do not change; the caller must then call [`AdamW::left_out`]
    /// before the next update.
    #[must_use]
    pub fn step<M: Module>(&mut self, lr: f64, model: M, grads: ParamGradients, factor: Tensor<1>) -> M {
        self.last.clear();
        // One read for all parameters.
        let host_factor = (self.format != MomentFormat::F32).then(|| factor.clone().into_scalar::<f32>());
        model.map(&mut Update {
            optimizer: self,
            grads,
            factor,
            host_factor,
            lr,
            path: vec![],
        })
    }

    /// Does not count the last update: the device skipped it.
    pub fn left_out(&mut self) {
        for id in self.last.drain(..) {
            if let Some(updates) = self.moments.updates.get_mut(&id) {
                *updates -= 1;
                if *updates == 0 {
                    // As before the first update: its moments are zero.
                    self.moments.updates.remove(&id);
                }
            }
        }
    }

    /// The moments, under the names of the parameters of `model` and in `PyTorch`'s terms: `NAME.exp_avg`,
    /// `NAME.exp_avg_sq`, and `NAME.step`, the number of updates. Those in 8 bits are codes; `NAME.exp_avg_absmax` and
    /// `NAME.exp_avg_sq_absmax` are their scales. One of several ranks returns those of the parameters that it owns
    /// ([`Ranks::owned`](crate::Ranks::owned)).
    #[must_use]
    pub fn state<M: Module>(&self, model: &M) -> Vec<NamedTensor> {
        let mut export = Export {
            moments: &self.moments,
            tensors: vec![],
            path: vec![],
        };
        model.visit(&mut export);
        export.tensors
    }

    /// Restores moments from [`AdamW::state`], of this rank or of a run with one rank: bit for bit, or rounded if they
    /// were kept in another format. Returns the names that belong to no parameter of `model`.
    pub fn load_state<M: Module>(&mut self, model: &M, state: BTreeMap<String, TensorData>) -> Vec<String> {
        self.moments = Moments::default();
        self.last.clear();
        let mut import = Import {
            moments: &mut self.moments,
            format: self.format,
            rows: &self.rows,
            state,
            path: vec![],
        };
        model.visit(&mut import);
        import.state.into_keys().collect()
    }
}

struct Update<'a> {
    optimizer: &'a mut AdamW,
    grads: ParamGradients,
    factor: Tensor<1>,
    /// The factor on the host, if the update is computed there.
    host_factor: Option<f32>,
    lr: f64,
    path: Vec<String>,
}

impl Update<'_> {
    /// Computes the new value of a parameter, or of rows of it from the row `first_row`, without gradient.
    fn updated<const D: usize>(
        &mut self,
        id: ParamId,
        value: Tensor<D>,
        grad: Tensor<D>,
        first_row: usize,
    ) -> Tensor<D> {
        let (rates, updates) = self.rates::<D>(id);
        let optimizer = &mut *self.optimizer;
        optimizer.last.push(id);
        let moments = &mut optimizer.moments;
        let Some(factor) = self.host_factor else {
            let before = [&mut moments.first, &mut moments.second]
                .map(|moments| moments.remove(id).unwrap_or_else(|| grad.zeros_like()));
            let (value, [first, second]) = update(value, grad, self.factor.clone(), before, rates);
            moments.first.register(id, first);
            moments.second.register(id, second);
            return value;
        };
        if factor < 0.0 {
            return value;
        }
        let shape = grad.dims();
        let (_, moments) = moments.on_host.entry(id).or_insert_with(|| {
            let count = shape.iter().product();
            (shape.to_vec(), HostMoments::zeros(count, optimizer.format))
        });
        let columns: usize = shape[1..].iter().product();
        let noise = Noise::new(optimizer.seed, id.val(), u64::from(updates)).after(first_row * columns);
        let device = value.device();
        let (mut value, grad) = (value.into_data(), grad.into_data());
        let values = value.as_mut_slice().expect("parameters are f32");
        let grads = grad.as_slice().expect("gradients are f32");
        moments.update(values, grads, factor, (rates, noise));
        Tensor::from_data(value, &device)
    }

    /// The scalars in the next update of a parameter, and the number of this update.
    fn rates<const D: usize>(&mut self, id: ParamId) -> (Rates, u32) {
        let AdamW {
            betas,
            eps,
            weight_decay,
            loraplus_lr_ratio,
            ref mut moments,
            ..
        } = *self.optimizer;
        let updates = moments.updates.entry(id).or_insert(0);
        *updates += 1;
        let name = self.path.join(".");
        let is_faster = D == 1 || name.ends_with(".lora_b");
        let lr = if is_faster {
            self.lr * loraplus_lr_ratio
        } else {
            self.lr
        };
        let decay = if parameters::decays(&name) {
            lr * weight_decay
        } else {
            0.0
        };
        #[expect(clippy::cast_possible_truncation, reason = "the optimizer computes in f32")]
        let rates = Rates {
            betas,
            corrections: betas.map(|beta| 1.0 - beta.powi(*updates)),
            eps,
            lr: lr as f32,
            keep: (1.0 - decay) as f32,
        };
        (rates, updates.unsigned_abs())
    }
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(grad) = self.grads.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let is_trained = tensor.is_require_grad();
        let rows = self.optimizer.rows.get(&id).cloned();
        let updated = match rows {
            None => self.updated(id, tensor.inner(), grad, 0),
            Some(rows) => {
                let whole = tensor.inner();
                let own = self.updated(id, whole.clone().slice([rows.clone()]), grad, rows.start);
                whole.slice_assign([rows], own)
            }
        };
        let updated = Tensor::from_inner(updated);
        Param::from_mapped_value(id, updated.set_require_grad(is_trained), mapper)
    }
}
