//! In which format the weights under an adapter are held.

use cadft_kernels::PackedFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The format of the linear weights of the blocks under an adapter, as recipes write it. The embedding, the output weight,
/// norms, biases and modules that are trained whole are f32 in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaseFormat {
    /// 32 bits.
    #[default]
    F32,
    /// Rounded to 16 bits; exact if the checkpoint has them in bf16.
    Bf16,
    /// Integers of 8 bits with a scale for each row (arXiv 2208.07339, without its path for outliers).
    Int8,
    /// `NormalFloat` of 4 bits with double quantisation (`QLoRA`, arXiv 2305.14314).
    Nf4,
}

impl BaseFormat {
    /// The packed format; `None` for f32.
    #[must_use]
    pub fn packed(self) -> Option<PackedFormat> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(PackedFormat::Bf16),
            Self::Int8 => Some(PackedFormat::Int8),
            Self::Nf4 => Some(PackedFormat::Nf4),
        }
    }
}

/// Which linear weights of a model are packed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenBase {
    /// The format.
    pub format: PackedFormat,
    /// Full names of the modules that are trained whole, which stay in f32.
    pub trained: Vec<String>,
}

impl FrozenBase {
    /// The format of the weight of the linear layer with this full name, if it is packed: those of the blocks are, unless
    /// they are trained. The router of experts is not: a small change of it sends a token to other experts.
    #[must_use]
    pub fn packs(&self, layer: &str) -> Option<PackedFormat> {
        let is_of_block = layer.starts_with("model.layers.") && !layer.ends_with(".mlp.gate");
        let is_trained = self.trained.iter().any(|name| name == layer);
        (is_of_block && !is_trained).then_some(self.format)
    }
}
