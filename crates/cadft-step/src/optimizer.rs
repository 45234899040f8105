//! `AdamW` with decoupled weight decay on matrices only: norms and biases do not decay.
//!
//! ```text
//! m ← β₁·m + (1−β₁)·g          v ← β₂·v + (1−β₂)·g²
//! θ ← (1−η·λ)·θ − η·(m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε)
//! ```
//!
//! `g` is the gradient times the clipping factor, which is on the device. If the factor is negative, the device changes
//! nothing. The host corrects the number of updates `t` when it reads the factor ([`Optimizer::left_out`]).
//!
//! Loshchilov and Hutter, Decoupled Weight Decay Regularization (arXiv 1711.05101), algorithm 2. The operations and
//! their order are those of Burn's `AdamW`, fused into one pass on backends that have a kernel (`update.rs`). The
//! moments are kept here, by parameter, so that a checkpoint stores them bit for bit under the names of their weights.
//! Other ways to update parameters are in `adafactor.rs` and `muon.rs`.
//!
//! Moments are kept on the device in f32, or in host memory in f32 or in fewer bits ([`MomentFormat`], `host.rs`).

use adafactor::AdafactorRates;
use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use cadft_model::ParamGradients;
use cadft_model::parameters::{self, NamedTensor};
use host::{HostMoments, Noise};
use muon::MuonRates;
use state::{Export, Import};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use update::{Rates, update};

pub use host::moment_bytes;
pub use muon::AdjustLr;
pub use options::{MomentFormat, OptimizerKind, OptimizerOptions};
pub use state::STATE_PARTS;
pub(crate) use update::{add, sum_of_squares};

mod adafactor;
mod host;
mod muon;
mod options;
mod state;
mod update;

/// The optimizer and its moments.
///
/// ```
/// use burn::module::Param;
/// use cadft_model::ParamGradients;
/// use burn::tensor::{Device, Tensor};
/// use cadft_step::{Optimizer, OptimizerOptions};
///
/// let device = Device::flex().autodiff();
/// let weight = Param::from_tensor(Tensor::<1>::from_data([1.0, -2.0], &device).require_grad());
/// let loss = weight.val().powi_scalar(2).sum();
/// let gradients = ParamGradients::from_grads(loss.backward(), &weight);
///
/// let mut optimizer = Optimizer::new(&OptimizerOptions { weight_decay: 0.0, ..OptimizerOptions::default() });
/// let not_clipped = Tensor::ones([1], &device.inner());
/// let weight = optimizer.step(0.1, weight, gradients, not_clipped);
/// // With bias correction, the first update has the size of the learning rate, whatever the size of the gradient.
/// let values: Vec<f32> = weight.val().into_data().iter().collect();
/// assert!((values[0] - 0.9).abs() < 1e-6 && (values[1] + 1.9).abs() < 1e-6);
/// ```
pub struct Optimizer {
    options: OptimizerOptions,
    moments: Moments,
    /// The parameters that the last update changed.
    last: Vec<ParamId>,
    /// For parameters that are cut between ranks, the rows that this rank updates.
    rows: HashMap<ParamId, Range<usize>>,
}

/// How one parameter is updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    AdamW,
    Adafactor,
    Muon,
}

/// The state of each parameter that has been updated: the first and the second moment; Muon's momentum in the place of the
/// first; Adafactor's means of rows and columns in the places of both, or its second moment.
#[derive(Default)]
struct Moments {
    first: ParamGradients,
    second: ParamGradients,
    /// Moments in host memory, and their shapes. A parameter has either these or those above.
    on_host: HashMap<ParamId, (Vec<usize>, HostMoments)>,
    updates: HashMap<ParamId, i32>,
}

impl Optimizer {
    /// An optimizer without moments.
    #[must_use]
    pub fn new(options: &OptimizerOptions) -> Self {
        Self {
            options: *options,
            moments: Moments::default(),
            last: vec![],
            rows: HashMap::new(),
        }
    }

    /// How the parameter `name` with `axes` axes is updated.
    fn rule(&self, name: &str, axes: usize) -> Rule {
        match self.options.kind {
            OptimizerKind::Adafactor => Rule::Adafactor,
            OptimizerKind::Muon if is_hidden_matrix(name, axes) => Rule::Muon,
            OptimizerKind::AdamW | OptimizerKind::Muon => Rule::AdamW,
        }
    }

    /// From now on, updates only these rows of these parameters. Their gradients and moments hold these rows only.
    pub(crate) fn own(&mut self, rows: HashMap<ParamId, Range<usize>>) {
        self.rows = rows;
    }

    /// Updates every parameter that has a gradient, with the gradient times `factor`, `[1]`, on the parameter's device.
    /// If `factor` is negative, parameters and moments do not change; the caller must then call [`Optimizer::left_out`]
    /// before the next update.
    #[must_use]
    pub fn step<M: Module>(&mut self, lr: f64, model: M, grads: ParamGradients, factor: Tensor<1>) -> M {
        self.last.clear();
        // One read for all parameters.
        let host_factor =
            (self.options.moments != MomentFormat::F32).then(|| factor.clone().into_scalar::<f32>());
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
            optimizer: self,
            tensors: vec![],
            path: vec![],
        };
        model.visit(&mut export);
        export.tensors
    }

    /// Restores moments from [`Optimizer::state`], of this rank or of a run with one rank: bit for bit, or rounded if they
    /// were kept in another format. Returns the names that belong to no parameter of `model`.
    pub fn load_state<M: Module>(&mut self, model: &M, state: BTreeMap<String, TensorData>) -> Vec<String> {
        self.moments = Moments::default();
        self.last.clear();
        let mut import = Import {
            optimizer: self,
            state,
            path: vec![],
        };
        model.visit(&mut import);
        import.state.into_keys().collect()
    }
}

struct Update<'a> {
    optimizer: &'a mut Optimizer,
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
        self.optimizer.last.push(id);
        let updates = self.optimizer.moments.updates.entry(id).or_insert(0);
        *updates += 1;
        let updates = updates.unsigned_abs();
        match self.optimizer.rule(&self.path.join("."), D) {
            Rule::AdamW if self.host_factor.is_some() => self.on_host(id, value, grad, (first_row, updates)),
            Rule::AdamW => self.on_device(id, value, grad, updates),
            Rule::Adafactor => self.adafactor(id, value, grad, updates),
            Rule::Muon => self.muon(id, value, grad),
        }
    }

    fn on_device<const D: usize>(
        &mut self,
        id: ParamId,
        value: Tensor<D>,
        grad: Tensor<D>,
        updates: u32,
    ) -> Tensor<D> {
        let rates = self.rates::<D>(updates);
        let moments = &mut self.optimizer.moments;
        let before = [&mut moments.first, &mut moments.second]
            .map(|moments| moments.remove(id).unwrap_or_else(|| grad.zeros_like()));
        let (value, [first, second]) = update(value, grad, self.factor.clone(), before, rates);
        moments.first.register(id, first);
        moments.second.register(id, second);
        value
    }

    fn on_host<const D: usize>(
        &mut self,
        id: ParamId,
        value: Tensor<D>,
        grad: Tensor<D>,
        (first_row, updates): (usize, u32),
    ) -> Tensor<D> {
        let Some(factor) = self.host_factor.filter(|factor| *factor >= 0.0) else {
            return value;
        };
        let rates = self.rates::<D>(updates);
        let OptimizerOptions {
            moments: format,
            seed,
            ..
        } = self.optimizer.options;
        let shape = grad.dims();
        let on_host = &mut self.optimizer.moments.on_host;
        let (_, moments) = on_host.entry(id).or_insert_with(|| {
            let count = shape.iter().product();
            (shape.to_vec(), HostMoments::zeros(count, format))
        });
        let columns: usize = shape[1..].iter().product();
        let noise = Noise::new(seed, id.val(), u64::from(updates)).after(first_row * columns);
        let device = value.device();
        let (mut value, grad) = (value.into_data(), grad.into_data());
        let values = value.as_mut_slice().expect("parameters are f32");
        let grads = grad.as_slice().expect("gradients are f32");
        moments.update(values, grads, factor, (rates, noise));
        Tensor::from_data(value, &device)
    }

    fn adafactor<const D: usize>(
        &mut self,
        id: ParamId,
        value: Tensor<D>,
        grad: Tensor<D>,
        updates: u32,
    ) -> Tensor<D> {
        let (lr, weight_decay) = self.lr_and_decay::<D>();
        let rates = AdafactorRates {
            updates,
            lr,
            weight_decay,
            scale_parameter: self.optimizer.options.scale_parameter,
        };
        let moments = &mut self.optimizer.moments;
        if D != 2 {
            let moment = moments.second.remove(id).unwrap_or_else(|| grad.zeros_like());
            let (value, moment) = adafactor::update_vector(value, grad, &self.factor, moment, rates);
            moments.second.register(id, moment);
            return value;
        }
        let (shape, device) = (grad.dims(), grad.device());
        let zeros = |size: usize| Tensor::<1>::zeros([size], &device);
        let of_rows = moments.first.remove(id).unwrap_or_else(|| zeros(shape[0]));
        let of_columns = moments.second.remove(id).unwrap_or_else(|| zeros(shape[1]));
        let (value, [of_rows, of_columns]) =
            adafactor::update_matrix(value, grad, &self.factor, [of_rows, of_columns], rates);
        moments.first.register(id, of_rows);
        moments.second.register(id, of_columns);
        value
    }

    fn muon<const D: usize>(&mut self, id: ParamId, value: Tensor<D>, grad: Tensor<D>) -> Tensor<D> {
        let (lr, weight_decay) = self.lr_and_decay::<D>();
        let OptimizerOptions {
            momentum, adjust_lr, ..
        } = self.optimizer.options;
        let shape = grad.dims();
        let rates = MuonRates {
            momentum,
            lr: lr * adjust_lr.factor([shape[0], shape[1]]),
            keep: 1.0 - lr * weight_decay,
        };
        let moments = &mut self.optimizer.moments.first;
        let buffer = moments.remove(id).unwrap_or_else(|| grad.zeros_like());
        let (value, buffer) = muon::update(value, grad, &self.factor, buffer, rates);
        moments.register(id, buffer);
        value
    }

    /// The learning rate of the parameter, and its weight decay.
    fn lr_and_decay<const D: usize>(&self) -> (f64, f64) {
        let OptimizerOptions {
            weight_decay,
            loraplus_lr_ratio,
            ..
        } = self.optimizer.options;
        let name = self.path.join(".");
        let is_faster = D == 1 || name.ends_with(".lora_b");
        let lr = if is_faster {
            self.lr * loraplus_lr_ratio
        } else {
            self.lr
        };
        #[expect(clippy::cast_possible_truncation, reason = "the optimizer computes in f32")]
        let weight_decay = f64::from(weight_decay as f32);
        (
            lr,
            if parameters::decays(&name) {
                weight_decay
            } else {
                0.0
            },
        )
    }

    /// The scalars in an update by `AdamW`, the parameter's number `updates`.
    #[expect(clippy::cast_possible_truncation, reason = "the optimizer computes in f32")]
    fn rates<const D: usize>(&self, updates: u32) -> Rates {
        let (lr, weight_decay) = self.lr_and_decay::<D>();
        let OptimizerOptions { betas, eps, .. } = self.optimizer.options;
        let betas = betas.map(|beta| beta as f32);
        Rates {
            betas,
            corrections: betas.map(|beta| 1.0 - beta.powi(updates.cast_signed())),
            eps: eps as f32,
            lr: lr as f32,
            keep: (1.0 - lr * weight_decay) as f32,
        }
    }
}

/// Whether Muon updates the parameter `name`: a matrix that is neither an embedding nor the output weight.
#[must_use]
pub fn is_hidden_matrix(name: &str, axes: usize) -> bool {
    axes == 2 && !name.contains("embed_tokens") && !name.contains("lm_head")
}

/// `new`, or `old` where the factor `[1]` is negative.
fn kept<const D: usize>(factor: &Tensor<1>, new: Tensor<D>, old: Tensor<D>) -> Tensor<D> {
    let is_left_out = factor.clone().lower_elem(0.0).reshape([1; D]).expand(new.dims());
    new.mask_where(is_left_out, old)
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
