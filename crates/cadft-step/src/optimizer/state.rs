//! The state of the optimizer by the names of parameters, for checkpoints.

use super::host::{HostMoments, Kept};
use super::{MomentFormat, Optimizer, Rule};
use burn::module::{ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use cadft_model::parameters::NamedTensor;
use std::collections::BTreeMap;

/// What a name ends with, in the state of a parameter.
pub const STATE_PARTS: [&str; 8] = [
    "exp_avg",
    "exp_avg_absmax",
    "exp_avg_sq",
    "exp_avg_sq_absmax",
    "exp_avg_sq_col",
    "exp_avg_sq_row",
    "momentum_buffer",
    "step",
];

pub(super) struct Export<'a> {
    pub(super) optimizer: &'a Optimizer,
    pub(super) tensors: Vec<NamedTensor>,
    pub(super) path: Vec<String>,
}

impl ModuleVisitor for Export<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let moments = &self.optimizer.moments;
        let Some(&updates) = moments.updates.get(&param.id) else {
            return;
        };
        let name = self.path.join(".");
        let (id, of) = (param.id, |part: &str| format!("{name}.{part}"));
        let new: [Option<NamedTensor>; 2] = match self.optimizer.rule(&name, D) {
            Rule::AdamW => {
                if let Some((shape, moments)) = moments.on_host.get(&id) {
                    self.tensors
                        .extend(moments.tensors([of("exp_avg"), of("exp_avg_sq")], shape));
                }
                [
                    named(of("exp_avg"), moments.first.get::<D>(id)),
                    named(of("exp_avg_sq"), moments.second.get::<D>(id)),
                ]
            }
            Rule::Muon => [named(of("momentum_buffer"), moments.first.get::<D>(id)), None],
            Rule::Adafactor if D == 2 => [
                named(of("exp_avg_sq_row"), moments.first.get::<1>(id)),
                named(of("exp_avg_sq_col"), moments.second.get::<1>(id)),
            ],
            Rule::Adafactor => [named(of("exp_avg_sq"), moments.second.get::<D>(id)), None],
        };
        self.tensors.extend(new.into_iter().flatten());
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact up to 2²⁴ updates, as in `PyTorch`"
        )]
        let updates = updates as f32;
        self.tensors
            .push(NamedTensor::from_values(format!("{name}.step"), vec![updates]));
    }
}

fn named<const D: usize>(name: String, tensor: Option<Tensor<D>>) -> Option<NamedTensor> {
    Some(NamedTensor::new(name, tensor?))
}

pub(super) struct Import<'a> {
    pub(super) optimizer: &'a mut Optimizer,
    pub(super) state: BTreeMap<String, TensorData>,
    pub(super) path: Vec<String>,
}

impl Import<'_> {
    /// The moments of the parameter `name`, which the state has in one of two shapes, and the shape that they have.
    fn found(&self, name: &str, shapes: [&[usize]; 2]) -> Option<(HostMoments, Vec<usize>)> {
        let read = |part: &str| -> Option<Kept> {
            let data = self.state.get(&format!("{name}.{part}"))?;
            let absmax = self.state.get(&format!("{name}.{part}_absmax"));
            let is_known = shapes.iter().any(|shape| data.shape().as_slice() == *shape);
            is_known.then(|| (data.clone(), absmax.cloned()))
        };
        let kept = [read("exp_avg")?, read("exp_avg_sq")?];
        let [(first, _), (second, _)] = &kept;
        let shape = first.shape().as_slice().to_vec();
        let is_one = second.shape().as_slice() == shape;
        Some((HostMoments::read(&kept).filter(|_| is_one)?, shape))
    }

    /// The part of a state of this shape in f32, on a device.
    fn part<const D: usize>(&mut self, name: &str, shape: [usize; D], device: &Device) -> Option<Tensor<D>> {
        let data = self.state.get(name)?;
        let fits = data.dtype() == DType::F32 && data.shape().as_slice() == shape;
        fits.then(|| self.state.remove(name))?
            .map(|data| Tensor::from_data(data, device))
    }

    /// Restores the state of a parameter that is not updated by `AdamW`. Returns whether it was all there.
    fn other<const D: usize>(&mut self, name: &str, rule: Rule, param: &Param<Tensor<D>>) -> Option<()> {
        let (shape, device) = (param.lazy_shape().dims::<D>(), param.lazy_device().inner());
        let of = |part: &str| format!("{name}.{part}");
        if rule == Rule::Muon {
            let buffer = self.part(&of("momentum_buffer"), shape, &device)?;
            self.optimizer.moments.first.register(param.id, buffer);
        } else if D == 2 {
            let of_rows = self.part(&of("exp_avg_sq_row"), [shape[0]], &device)?;
            let of_columns = self.part(&of("exp_avg_sq_col"), [shape[1]], &device)?;
            self.optimizer.moments.first.register(param.id, of_rows);
            self.optimizer.moments.second.register(param.id, of_columns);
        } else {
            let moment = self.part(&of("exp_avg_sq"), shape, &device)?;
            self.optimizer.moments.second.register(param.id, moment);
        }
        Some(())
    }
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
        let whole = param.lazy_shape().as_slice().to_vec();
        let rows = self.optimizer.rows.get(&param.id).cloned();
        let mut own = whole.clone();
        if let Some(rows) = &rows {
            own[0] = rows.len();
        }
        let Some(updates) = self.state.get(&format!("{name}.step")) else {
            return;
        };
        #[expect(clippy::cast_possible_truncation, reason = "a count of updates")]
        let updates = updates.iter::<f32>().next().unwrap_or_default() as i32;
        let rule = self.optimizer.rule(&name, D);
        if rule != Rule::AdamW {
            if self.other(&name, rule, param).is_some() {
                self.state.remove(&format!("{name}.step"));
                self.optimizer.moments.updates.insert(param.id, updates);
            }
            return;
        }
        let Some((mut moments, shape)) = self.found(&name, [&whole, &own]) else {
            return;
        };
        for part in STATE_PARTS {
            self.state.remove(&format!("{name}.{part}"));
        }
        if let Some(rows) = rows.filter(|_| shape != own) {
            let columns: usize = own[1..].iter().product();
            let cut = |values: Vec<f32>| values[rows.start * columns..rows.end * columns].to_vec();
            moments = HostMoments::of(moments.into_values().map(cut));
        }
        let format = self.optimizer.options.moments;
        let all = &mut self.optimizer.moments;
        all.updates.insert(param.id, updates);
        if format != MomentFormat::F32 {
            let moments = moments.kept_as(format);
            all.on_host.insert(param.id, (own, moments));
            return;
        }
        let device = param.lazy_device().inner();
        let [first, second] = moments
            .into_values()
            .map(|values| Tensor::<D>::from_data(TensorData::new(values, own.clone()), &device));
        all.first.register(param.id, first);
        all.second.register(param.id, second);
    }
}
