//! The gradients of a backward pass, by parameter.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::container::TensorContainer;
use burn::tensor::{Gradients, Tensor};

/// Gradients, or other tensors with a place for each parameter such as moments, by the id of the parameter.
///
/// Burn's `GradientsParams` does the same, but belongs to its optimizers, which need Burn's `std` and with it a parser of
/// TOML.
///
/// ```
/// use burn::module::Param;
/// use burn::tensor::{Device, Tensor};
/// use cadft_model::ParamGradients;
///
/// let device = Device::flex().autodiff();
/// let weight = Param::from_tensor(Tensor::<1>::from_data([1.0, -2.0], &device).require_grad());
/// let loss = weight.val().powi_scalar(2).sum();
///
/// let gradients = ParamGradients::from_grads(loss.backward(), &weight);
/// let gradient = gradients.get::<1>(weight.id).expect("a trained parameter of the loss");
/// assert_eq!(gradient.into_data().to_vec::<f32>().unwrap(), [2.0, -4.0]);
/// ```
#[derive(Debug, Default)]
pub struct ParamGradients(TensorContainer<ParamId>);

impl ParamGradients {
    /// No gradients.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The gradients of the trained parameters of `module`, without the graph.
    #[must_use]
    pub fn from_grads<M: Module>(mut grads: Gradients, module: &M) -> Self {
        Self::from_module(&mut grads, module)
    }

    /// As [`ParamGradients::from_grads`]; the gradients of other modules stay in `grads`.
    #[must_use]
    pub fn from_module<M: Module>(grads: &mut Gradients, module: &M) -> Self {
        let mut take = Take {
            from: grads,
            to: Self::new(),
        };
        module.visit(&mut take);
        take.to
    }

    /// The gradient of a parameter, in the parameter's shape; `None` if it has none.
    ///
    /// # Panics
    /// If the parameter has another number of dimensions than `D`.
    #[must_use]
    pub fn get<const D: usize>(&self, id: ParamId) -> Option<Tensor<D>> {
        self.0.get(&id)
    }

    /// Takes the gradient of a parameter.
    ///
    /// # Panics
    /// If the parameter has another number of dimensions than `D`.
    pub fn remove<const D: usize>(&mut self, id: ParamId) -> Option<Tensor<D>> {
        self.0.remove(&id)
    }

    /// Sets the gradient of a parameter.
    pub fn register<const D: usize>(&mut self, id: ParamId, gradient: Tensor<D>) {
        self.0.register(id, gradient);
    }

    /// The number of parameters that have a gradient.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no parameter has a gradient.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Take<'a> {
    from: &'a mut Gradients,
    to: ParamGradients,
}

impl ModuleVisitor for Take<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // `grad_remove` panics on a tensor without autodiff.
        if param.is_require_grad()
            && let Some(gradient) = param.val().grad_remove(self.from)
        {
            self.to.register(param.id, gradient);
        }
    }
}
