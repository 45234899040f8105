//! The trained parameters of a module as vectors, in the order of the module, and back.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};
use cadft_model::ParamGradients;
use std::collections::HashMap;

/// One trained parameter, or its gradient.
pub(crate) struct Flat {
    pub(crate) id: ParamId,
    pub(super) length: usize,
    /// The first dimension of its shape.
    pub(super) rows: usize,
    /// The device of the values, without autodiff.
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

/// Every trained parameter without its values.
pub(super) fn flat_shapes<M: Module>(model: &M) -> Vec<Flat> {
    flattened(model, Look::Shapes)
}

/// The values of every trained parameter.
pub(super) fn flat_values<M: Module>(model: &M) -> Vec<Flat> {
    flattened(model, Look::Values)
}

/// The gradient of every trained parameter.
pub(crate) fn flat_gradients<M: Module>(model: &M, gradients: &ParamGradients) -> Vec<Flat> {
    flattened(model, Look::Gradients(gradients))
}

fn flattened<M: Module>(model: &M, at: Look<'_>) -> Vec<Flat> {
    let mut flatten = Flatten { at, found: vec![] };
    model.visit(&mut flatten);
    flatten.found
}

/// Values as gradients, each in the shape of its parameter, or of its block of rows of that parameter.
pub(crate) fn gradients_of<M: Module>(model: &M, values: Vec<(ParamId, Tensor<1>)>) -> ParamGradients {
    let mut give = Give {
        values: values.into_iter().collect(),
        gradients: ParamGradients::new(),
    };
    model.visit(&mut give);
    give.gradients
}

/// The model with these values as its parameters. Several entries of one parameter are its blocks of rows, in order.
pub(super) fn with_values<M: Module>(model: M, values: Vec<(ParamId, Tensor<1>)>) -> M {
    let mut of_parameters: HashMap<ParamId, Vec<Tensor<1>>> = HashMap::new();
    for (id, values) in values {
        of_parameters.entry(id).or_default().push(values);
    }
    model.map(&mut Set(of_parameters))
}

/// What to collect for each parameter.
#[derive(Clone, Copy)]
enum Look<'a> {
    Shapes,
    Values,
    Gradients(&'a ParamGradients),
}

struct Flatten<'a> {
    at: Look<'a>,
    found: Vec<Flat>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let shape = param.lazy_shape();
        let (length, rows) = (shape.num_elements(), shape[0]);
        let values = match self.at {
            Look::Shapes => None,
            Look::Values => Some(param.val().inner()),
            Look::Gradients(gradients) => gradients.get::<D>(param.id),
        };
        self.found.push(Flat {
            id: param.id,
            length,
            rows,
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
    gradients: ParamGradients,
}

impl ModuleVisitor for Give {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(values) = self.values.remove(&param.id) {
            let mut shape = param.lazy_shape().dims::<D>();
            let [length] = values.dims();
            shape[0] = length / shape[1..].iter().product::<usize>();
            self.gradients.register::<D>(param.id, values.reshape(shape));
        }
    }
}

struct Set(HashMap<ParamId, Vec<Tensor<1>>>);

impl ModuleMapper for Set {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(mut values) = self.0.remove(&id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let values = match values.len() {
            1 => values.remove(0),
            _ => Tensor::cat(values, 0),
        };
        let is_trained = tensor.is_require_grad();
        let value = Tensor::from_inner(values.reshape(tensor.dims()));
        Param::from_mapped_value(id, value.set_require_grad(is_trained), mapper)
    }
}
