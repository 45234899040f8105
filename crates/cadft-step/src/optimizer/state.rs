//! The state of the optimizer by the names of parameters, for checkpoints.

use super::host::{HostMoments, Kept};
use super::{MomentFormat, Moments};
use burn::module::{ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use cadft_model::parameters::NamedTensor;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// What a name ends with, in the state of a parameter.
pub const STATE_PARTS: [&str; 5] = [
    "exp_avg",
    "exp_avg_absmax",
    "exp_avg_sq",
    "exp_avg_sq_absmax",
    "step",
];

pub(super) struct Export<'a> {
    pub(super) moments: &'a Moments,
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
        let Some(&updates) = self.moments.updates.get(&param.id) else {
            return;
        };
        let name = self.path.join(".");
        let names = ["exp_avg", "exp_avg_sq"].map(|part| format!("{name}.{part}"));
        if let Some((shape, moments)) = self.moments.on_host.get(&param.id) {
            self.tensors.extend(moments.tensors(names, shape));
        } else {
            let on_device = [&self.moments.first, &self.moments.second];
            for (name, moments) in names.into_iter().zip(on_device) {
                let moment = moments.get::<D>(param.id);
                self.tensors
                    .extend(moment.map(|moment| NamedTensor::new(name, moment)));
            }
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

pub(super) struct Import<'a> {
    pub(super) moments: &'a mut Moments,
    pub(super) format: MomentFormat,
    pub(super) rows: &'a HashMap<ParamId, Range<usize>>,
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
        let rows = self.rows.get(&param.id);
        let mut own = whole.clone();
        if let Some(rows) = rows {
            own[0] = rows.len();
        }
        let Some(updates) = self.state.get(&format!("{name}.step")) else {
            return;
        };
        #[expect(clippy::cast_possible_truncation, reason = "a count of updates")]
        let updates = updates.iter::<f32>().next().unwrap_or_default() as i32;
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
        self.moments.updates.insert(param.id, updates);
        if self.format != MomentFormat::F32 {
            let moments = moments.kept_as(self.format);
            self.moments.on_host.insert(param.id, (own, moments));
            return;
        }
        let device = param.lazy_device().inner();
        let [first, second] = moments
            .into_values()
            .map(|values| Tensor::<D>::from_data(TensorData::new(values, own.clone()), &device));
        self.moments.first.register(param.id, first);
        self.moments.second.register(param.id, second);
    }
}
