//! The floating-point types of stored weights.

use half::{bf16, f16};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type in which weights are stored on disk; in memory they are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single precision.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of single precision.
    Bf16,
}

impl Dtype {
    /// The name in `config.json`.
    #[must_use]
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Size of one value in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The values after rounding to this type.
    ///
    /// # Examples
    /// ```
    /// use cadft_model::Dtype;
    ///
    /// assert_eq!(Dtype::Bf16.rounded(&[1.0, 1.001]), [1.0, 1.0]);
    /// ```
    #[must_use]
    pub fn rounded(self, values: &[f32]) -> Vec<f32> {
        self.decode(&self.encode(values))
    }

    #[cfg(feature = "files")]
    pub(crate) fn to_safetensors(self) -> safetensors::Dtype {
        match self {
            Self::F32 => safetensors::Dtype::F32,
            Self::F16 => safetensors::Dtype::F16,
            Self::Bf16 => safetensors::Dtype::BF16,
        }
    }

    #[cfg(feature = "files")]
    pub(crate) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        match dtype {
            safetensors::Dtype::F32 => Some(Self::F32),
            safetensors::Dtype::F16 => Some(Self::F16),
            safetensors::Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Converts little-endian bytes to f32, exactly.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => decode_with(bytes, f32::from_le_bytes),
            Self::F16 => decode_with(bytes, |pair| f16::from_le_bytes(pair).to_f32()),
            Self::Bf16 => decode_with(bytes, |pair| bf16::from_le_bytes(pair).to_f32()),
        }
    }

    /// Converts f32 to little-endian bytes, rounding to nearest even.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values
                .par_iter()
                .flat_map_iter(|value| value.to_le_bytes())
                .collect(),
            Self::F16 => values
                .par_iter()
                .flat_map_iter(|&value| f16::from_f32(value).to_le_bytes())
                .collect(),
            Self::Bf16 => values
                .par_iter()
                .flat_map_iter(|&value| bf16::from_f32(value).to_le_bytes())
                .collect(),
        }
    }
}

fn decode_with<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.par_iter().map(|&element| decode(element)).collect()
}
