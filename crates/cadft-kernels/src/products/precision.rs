//! The number format of the factors of a product.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernels::MatmulKernels;

/// The number format of the factors of products. Sums and results are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits, or TF32 if it is allowed.
    #[default]
    F32,
    /// The factors of products are bf16. Sums, weights, gradients, moments and everything else are f32.
    Bf16,
}

impl Precision {
    /// The format of a factor: `Bf16` for a bf16 tensor, otherwise `F32`.
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

    /// Converts a factor to this format; a bf16 factor stays bf16.
    #[must_use]
    pub fn factor<B: MatmulKernels>(self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Bf16 => B::bf16_factor(x),
            Self::F32 => x,
        }
    }
}
