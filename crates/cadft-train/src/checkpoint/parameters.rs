//! The trained parameters of a model by name: out of it, and back into it.

use super::tensors::{NamedTensor, copied};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// The parameters of a model, those that are trained and how many are not.
#[derive(Debug, Default)]
pub(crate) struct Trained {
    /// Trained parameters, sharing their storage with the model.
    pub(crate) tensors: Vec<NamedTensor>,
    /// Number of the others.
    pub(crate) frozen: usize,
    path: Vec<String>,
}

impl Trained {
    /// Those of `model`, which is on the autodiff graph.
    pub(crate) fn of<M: Module>(model: &M) -> Self {
        let mut trained = Self::default();
        model.visit(&mut trained);
        trained
    }
}

impl ModuleVisitor for Trained {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let tensor = NamedTensor::new(self.path.join("."), param.val().inner());
            self.tensors.push(tensor);
        } else {
            self.frozen += 1;
        }
    }
}

/// Gives the trained parameters of `model` the values of `tensors`; the names of those that have none that fit.
pub(crate) fn restore<M: Module>(model: M, tensors: BTreeMap<String, TensorData>) -> (M, Vec<String>) {
    let mut restore = Restore {
        tensors,
        missing: vec![],
        path: vec![],
    };
    let model = model.map(&mut restore);
    (model, restore.missing)
}

struct Restore {
    tensors: BTreeMap<String, TensorData>,
    missing: Vec<String>,
    path: Vec<String>,
}

impl ModuleMapper for Restore {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        let name = self.path.join(".");
        match self.tensors.remove(&name) {
            Some(data) if *data.shape() == param.lazy_shape() => param.map(|tensor| {
                let device = tensor.device().inner();
                Tensor::from_inner(Tensor::from_data(data, &device)).require_grad()
            }),
            _ => {
                self.missing.push(name);
                param
            }
        }
    }
}

/// The same module with its parameters on another device, copied now through the memory of the host.
pub(crate) fn copy_to<M: Module>(model: M, device: &Device) -> M {
    model.map(&mut Copy(device.clone()))
}

struct Copy(Device);

impl ModuleMapper for Copy {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let device = self.0.clone();
        param.map(|tensor| Tensor::from_data(copied(&tensor.into_data()), &device))
    }
}
