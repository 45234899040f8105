//! The number format of the factors of a product.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number format in which the factors of products are multiplied; what is summed and what comes out is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits, or TF32 if that is allowed.
    #[default]
    F32,
    /// The factors of products in bf16. Their sums, weights, gradients, moments and everything else are f32.
    Bf16,
}

impl Precision {
    /// That of a factor: bf16 where it is in bf16, f32 otherwise.
    #[must_use]
    pub fn of(x: &impl TensorMetadata) -> Self {
        match x.dtype() {
            DType::BF16 => Self::Bf16,
            _ => Self::F32,
        }
    }

    /// The dtype of factors.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// A factor in this format; one that is in bf16 already stays so.
    #[must_use]
    pub fn factor<B: Backend>(self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Bf16 => cast::<B>(x, DType::BF16),
            Self::F32 => x,
        }
    }
}

/// Casts where the dtype differs; the identity otherwise.
#[must_use]
pub fn cast<B: Backend>(x: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    if x.dtype() == dtype {
        x
    } else {
        B::float_cast(x, FloatDType::from(dtype))
    }
}
