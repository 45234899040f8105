//! The trained parameters of a module as vectors, in the order of the module, and back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use std::collections::HashMap;

/// One trained parameter, or its gradient.
pub(super) struct Flat {
    pub(super) id: ParamId,
    pub(super) length: usize,
    /// Off the autodiff graph.
    pub(super) device: Device,
    /// `[length]`; a gradient that is absent is 0.
    values: Option<Tensor<1>>,
}

impl Flat {
    pub(super) fn values(&self) -> Tensor<1> {
        (self.values.clone()).unwrap_or_else(|| Tensor::zeros([self.length], &self.device))
    }
}

/// The names of all trained parameters.
pub(super) fn trained_names<M: Module>(model: &M) -> Vec<String> {
    let mut names = Names {
        path: vec![],
        found: vec![],
    };
    model.visit(&mut names);
    names.found
}

/// The values of every trained parameter.
pub(super) fn flat_values<M: Module>(model: &M) -> Vec<Flat> {
    let mut flatten = Flatten {
        gradients: None,
        found: vec![],
    };
    model.visit(&mut flatten);
    flatten.found
}

/// The gradient of every trained parameter.
pub(super) fn flat_gradients<M: Module>(model: &M, gradients: &GradientsParams) -> Vec<Flat> {
    let mut flatten = Flatten {
        gradients: Some(gradients),
        found: vec![],
    };
    model.visit(&mut flatten);
    flatten.found
}

/// The gradients that `values` are, in the shapes of their parameters.
pub(super) fn gradients_of<M: Module>(model: &M, values: Vec<(ParamId, Tensor<1>)>) -> GradientsParams {
    let mut give = Give {
        values: values.into_iter().collect(),
        gradients: GradientsParams::new(),
    };
    model.visit(&mut give);
    give.gradients
}

/// The model with these values of its parameters.
pub(super) fn with_values<M: Module>(model: M, values: Vec<(ParamId, Tensor<1>)>) -> M {
    model.map(&mut Set(values.into_iter().collect()))
}

struct Flatten<'a> {
    /// Gradients are looked for here; without, the parameters themselves.
    gradients: Option<&'a GradientsParams>,
    found: Vec<Flat>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let length = param.lazy_shape().num_elements();
        let values = match self.gradients {
            Some(gradients) => gradients.get::<D>(param.id),
            None => Some(param.val().inner()),
        };
        self.found.push(Flat {
            id: param.id,
            length,
            device: param.lazy_device().inner(),
            values: values.map(|values| values.reshape([length])),
        });
    }
}

struct Names {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.found.push(self.path.join("."));
        }
    }
}

struct Give {
    values: HashMap<ParamId, Tensor<1>>,
    gradients: GradientsParams,
}

impl ModuleVisitor for Give {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(values) = self.values.remove(&param.id) {
            let shape = param.lazy_shape().dims::<D>();
            self.gradients.register::<D>(param.id, values.reshape(shape));
        }
    }
}

struct Set(HashMap<ParamId, Tensor<1>>);

impl ModuleMapper for Set {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(values) = self.0.remove(&id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let is_trained = tensor.is_require_grad();
        let value = Tensor::from_inner(values.reshape(tensor.dims()));
        Param::from_mapped_value(id, value.set_require_grad(is_trained), mapper)
    }
}
