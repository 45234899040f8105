//! Options of the optimizer.

use super::muon::AdjustLr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How parameters are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// By two moments of each gradient (arXiv 1711.05101).
    #[default]
    AdamW,
    /// By means of squared gradients over rows and columns (arXiv 1804.04235), which take almost no memory: as `Adafactor` of
    /// transformers with a given learning rate.
    Adafactor,
    /// Matrices of hidden layers by their momentum, made orthogonal: as `torch.optim.Muon`. Embeddings, the output weight and
    /// vectors by AdamW.
    Muon,
}

/// How the moments are kept between updates. The update itself is computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MomentFormat {
    /// In f32, on the device.
    #[default]
    F32,
    /// In bf16 with stochastic rounding, which depends on the seed alone. On a CPU.
    Bf16,
    /// In 8 bits with a scale for each 256, with the codes of bitsandbytes; in f32 if a parameter has fewer than 4096
    /// values. On a CPU.
    Int8,
    /// In f32 in the memory of the host, where the update is computed too.
    Host,
}

impl MomentFormat {
    /// Its name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Host => "host",
        }
    }

    /// Whether the values of a device must be in host memory for it.
    #[must_use]
    pub fn is_of_host(self) -> bool {
        matches!(self, Self::Bf16 | Self::Int8)
    }
}

/// Options of [`Optimizer`](super::Optimizer) besides the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerOptions {
    /// How parameters are updated.
    pub kind: OptimizerKind,
    /// Decay of the two moments of AdamW, β₁ and β₂; the DFT code's: 0.9, 0.95.
    pub betas: [f64; 2],
    /// Decoupled weight decay λ; the DFT code's: 0.01.
    pub weight_decay: f64,
    /// ε, added to the root of the second moment of AdamW; `PyTorch`'s: 1e-8.
    pub eps: f64,
    /// Factor of the learning rate of `lora_B`, and of what has one axis, such as `DoRA`'s magnitudes: LoRA+ (arXiv
    /// 2402.12354), with the groups of PEFT's `create_loraplus_optimizer`. 1 for one learning rate.
    pub loraplus_lr_ratio: f64,
    /// How the moments of AdamW are kept.
    pub moments: MomentFormat,
    /// Seed of stochastic rounding.
    pub seed: u64,
    /// Whether Adafactor multiplies the learning rate by the size of the parameter.
    pub scale_parameter: bool,
    /// μ, the decay of Muon's momentum; its author's: 0.95.
    pub momentum: f64,
    /// How Muon's learning rate depends on the shape of a matrix.
    pub adjust_lr: AdjustLr,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            betas: [0.9, 0.95],
            weight_decay: 0.01,
            eps: 1e-8,
            loraplus_lr_ratio: 1.0,
            moments: MomentFormat::F32,
            seed: 42,
            scale_parameter: false,
            momentum: 0.95,
            adjust_lr: AdjustLr::MatchRmsAdamw,
        }
    }
}
