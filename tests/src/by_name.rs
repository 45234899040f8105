//! Parameters and gradients of a model by their Hugging Face names.

use crate::arrays::values;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Tensor};
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use std::collections::BTreeMap;

/// Values by Hugging Face name.
pub type Named = BTreeMap<String, Vec<f64>>;

/// The trained parameters.
#[must_use]
pub fn trained(model: &CausalLm) -> Named {
    by_name(model, None)
}

/// The gradients that exist.
#[must_use]
pub fn gradients_by_name(model: &CausalLm, gradients: &ParamGradients) -> Named {
    by_name(model, Some(gradients))
}

fn by_name(model: &CausalLm, gradients: Option<&ParamGradients>) -> Named {
    let names = model.named_parameters().into_iter();
    let mut visitor = ByName {
        names: names.map(|parameter| (parameter.id, parameter.name)).collect(),
        gradients,
        found: Named::new(),
    };
    model.visit(&mut visitor);
    visitor.found
}

struct ByName<'a> {
    names: BTreeMap<ParamId, String>,
    gradients: Option<&'a ParamGradients>,
    found: Named,
}

impl ModuleVisitor for ByName<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            Some(gradients) => gradients.get::<D>(param.id),
            None => param.is_require_grad().then(|| param.val()),
        };
        if let Some(tensor) = tensor {
            let name = self.names[&param.id].clone();
            assert_eq!(param.val().dtype(), DType::F32, "{name}: weights are f32");
            assert_eq!(tensor.dtype(), DType::F32, "{name}: gradients are f32");
            self.found.insert(name, values(tensor));
        }
    }
}
