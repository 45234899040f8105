//! The weight of a linear layer: a parameter in f32, or a packed constant.

use burn::module::{Param, ParamId};
use burn::tensor::Tensor;
use cadft_kernels::Packed;

use super::precision::{Precision, project, rows_of};
use super::transparent::transparent;
use crate::fused;
use crate::parameters::{Parameters, name_hash};

/// The weight of a linear layer, `[output, input]`. As a module it is what it holds: the name of the parameter is that of
/// the field, and a packed weight has no parameter.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one for each linear layer")]
pub enum Weight {
    /// A parameter, in f32.
    Dense(Param<Tensor<2>>),
    /// A constant in fewer bits.
    Packed(Packed),
}

impl Weight {
    /// The weight of the layer `name`, packed if `make` packs it.
    pub(crate) fn new(name: &str, shape: [usize; 2], make: &mut Parameters<'_>) -> Self {
        match make.packed(name) {
            Some(format) => {
                let values = (make.values)(&format!("{name}.weight"), &shape);
                Self::Packed(Packed::new(&values, shape, format, make.device))
            }
            None => Self::Dense(make.param(&format!("{name}.weight"), shape)),
        }
    }

    /// The weight in f32, `[output, input]`; a packed one is unpacked.
    #[must_use]
    pub fn val(&self) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.val(),
            Self::Packed(weight) => weight.unpacked(),
        }
    }

    /// `[output, input]`.
    #[must_use]
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(weight) => weight.dims(),
            Self::Packed(weight) => weight.shape(),
        }
    }

    /// The parameter, if the weight is one.
    #[must_use]
    pub fn parameter(&self) -> Option<&Param<Tensor<2>>> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Packed(_) => None,
        }
    }

    /// Whether the weight is packed.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        matches!(self, Self::Packed(_))
    }

    /// A parameter of the layer `name` with these values, off the autodiff graph.
    pub(crate) fn replaced(self, name: &str, values: Tensor<2>) -> Self {
        Self::Dense(match self {
            Self::Dense(weight) => weight.map(|_| values),
            Self::Packed(_) => {
                let id = ParamId::from(name_hash(&format!("{name}.weight")));
                Param::initialized(id, values)
            }
        })
    }

    /// `x Wᵀ` over the last dimension of `x`; the result is f32.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: `[batch, seq, output]`
    pub(super) fn project(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        match self {
            Self::Dense(weight) => project(x, weight.val(), precision),
            Self::Packed(weight) => rows_of(x, |rows| weight.project(rows, precision)),
        }
    }

    /// `W xᵀ` in f32, off the autodiff graph.
    ///
    /// # Shapes
    /// - `x`: `[rows, input]`
    /// - output: `[output, rows]`
    pub(super) fn times(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Dense(weight) => fused::linear(weight.val().detach(), x),
            Self::Packed(weight) => weight.project(x, Precision::F32).transpose(),
        }
    }

    /// The sums of the squares of the rows, off the autodiff graph, `[output, 1]`.
    pub(crate) fn row_squares(&self) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.val().detach().square().sum_dim(1),
            Self::Packed(weight) => weight.row_squares().unsqueeze_dim(1),
        }
    }
}

transparent!(Weight { Dense, Packed });
