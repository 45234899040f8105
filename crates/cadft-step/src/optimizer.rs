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

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use cadft_model::ParamGradients;
use cadft_model::parameters::{self, NamedTensor};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use update::{Rates, update};
pub(crate) use update::{add, sum_of_squares};

mod update;

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
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            weight_decay: 0.01,
            eps: 1e-8,
            loraplus_lr_ratio: 1.0,
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
        model.map(&mut Update {
            optimizer: self,
            grads,
            factor,
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
    /// `NAME.exp_avg_sq`, and `NAME.step`, the number of updates. One of several ranks returns those of the parameters
    /// that it owns ([`Ranks::owned`](crate::Ranks::owned)).
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

    /// Restores moments from [`AdamW::state`], of this rank or of a run with one rank. Returns the names that belong to
    /// no parameter of `model`.
    pub fn load_state<M: Module>(&mut self, model: &M, state: BTreeMap<String, TensorData>) -> Vec<String> {
        self.moments = Moments::default();
        self.last.clear();
        let mut import = Import {
            moments: &mut self.moments,
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
    lr: f64,
    path: Vec<String>,
}

impl Update<'_> {
    /// Computes the new value of a parameter, without gradient.
    fn updated<const D: usize>(&mut self, id: ParamId, value: Tensor<D>, grad: Tensor<D>) -> Tensor<D> {
        let AdamW {
            betas,
            eps,
            weight_decay,
            loraplus_lr_ratio,
            ref mut moments,
            ref mut last,
            ..
        } = *self.optimizer;
        last.push(id);
        let before = [&mut moments.first, &mut moments.second]
            .map(|moments| moments.remove(id).unwrap_or_else(|| grad.zeros_like()));
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
        let (value, [first, second]) = update(value, grad, self.factor.clone(), before, rates);
        moments.first.register(id, first);
        moments.second.register(id, second);
        value
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
            None => self.updated(id, tensor.inner(), grad),
            Some(rows) => {
                let whole = tensor.inner();
                let own = self.updated(id, whole.clone().slice([rows.clone()]), grad);
                whole.slice_assign([rows], own)
            }
        };
        let updated = Tensor::from_inner(updated);
        Param::from_mapped_value(id, updated.set_require_grad(is_trained), mapper)
    }
}

struct Export<'a> {
    moments: &'a Moments,
    tensors: Vec<NamedTensor>,
    path: Vec<String>,
}

impl ModuleVisitor for Export<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(&updates) = self.moments.updates.get(&param.id) else {
            return;
        };
        let name = self.path.join(".");
        let parts = [
            ("exp_avg", &self.moments.first),
            ("exp_avg_sq", &self.moments.second),
        ];
        for (part, moments) in parts {
            let moment = moments.get::<D>(param.id);
            self.tensors
                .extend(moment.map(|moment| NamedTensor::new(format!("{name}.{part}"), moment)));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact up to 2²⁴ updates, as in `PyTorch`"
        )]
        let updates = updates as f32;
        self.tensors
            .push(NamedTensor::from_values(format!("{name}.step"), vec![updates]));
    }
}

struct Import<'a> {
    moments: &'a mut Moments,
    rows: &'a HashMap<ParamId, Range<usize>>,
    state: BTreeMap<String, TensorData>,
    path: Vec<String>,
}

impl ModuleVisitor for Import<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let shape = param.lazy_shape();
        let key = |part: &str| format!("{name}.{part}");
        let rows = self.rows.get(&param.id);
        let mut own = shape.clone();
        if let Some(rows) = rows {
            own[0] = rows.len();
        }
        let fits = |key: &str| {
            let is_known = |data: &TensorData| *data.shape() == shape || *data.shape() == own;
            self.state.get(key).is_some_and(is_known)
        };
        let has_all = fits(&key("exp_avg")) && fits(&key("exp_avg_sq"));
        if !has_all || !self.state.contains_key(&key("step")) {
            return;
        }
        let device = param.lazy_device().inner();
        let mut take = |part: &str| self.state.remove(&key(part));
        let moments = (take("exp_avg"), take("exp_avg_sq"), take("step"));
        let (Some(first), Some(second), Some(updates)) = moments else {
            return;
        };
        let [first, second] = [first, second].map(|moment| {
            let found = Tensor::<D>::from_data(moment, &device);
            match rows {
                Some(rows) if found.dims() != own.dims::<D>() => found.slice([rows.clone()]),
                _ => found,
            }
        });
        self.moments.first.register(param.id, first);
        self.moments.second.register(param.id, second);
        #[expect(clippy::cast_possible_truncation, reason = "a count of updates")]
        let updates = updates.iter::<f32>().next().unwrap_or_default() as i32;
        self.moments.updates.insert(param.id, updates);
    }
}
