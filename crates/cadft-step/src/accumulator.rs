//! Gradients that are added up, in place and on all threads where a backend has a kernel for it.

use crate::optimizer::add;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use cadft_model::ParamGradients;

/// The sum of the gradients that were added so far.
pub(crate) struct Accumulator(ParamGradients);

impl Accumulator {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self(ParamGradients::new())
    }

    /// Adds the gradients of the parameters of `model`.
    pub(crate) fn add<M: Module>(&mut self, model: &M, found: ParamGradients) {
        let mut visitor = Adding {
            sum: &mut self.0,
            found,
        };
        model.visit(&mut visitor);
    }

    /// Takes the sum, and begins anew.
    pub(crate) fn take(&mut self) -> ParamGradients {
        std::mem::take(&mut self.0)
    }
}

struct Adding<'a> {
    sum: &'a mut ParamGradients,
    found: ParamGradients,
}

impl ModuleVisitor for Adding<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(found) = self.found.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => add(sum, found),
            None => found,
        };
        self.sum.register(param.id, sum);
    }
}
