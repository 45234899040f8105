//! Collects the trained parameters of a model by name, and restores them.

use super::tensors::{NamedTensor, copied};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// The trained parameters of a model, and the number of frozen ones.
#[derive(Debug, Default)]
pub(crate) struct Trained {
    /// Trained parameters. They share their storage with the model.
    pub(crate) tensors: Vec<NamedTensor>,
    /// Number of frozen parameters.
    pub(crate) frozen: usize,
    path: Vec<String>,
}

impl Trained {
    /// The parameters of `model`, which must be on the autodiff graph.
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

/// Sets the trained parameters of `model` to `tensors`. Also returns the names of parameters without a tensor of their
/// shape.
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

/// The same module with its parameters on another device. They are copied immediately, through host memory.
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
