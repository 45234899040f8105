//! `[optimizer]`: how parameters are updated.

use super::Recipe;
use super::validate::Requirement;
use crate::device::host_for;
use crate::error::TrainError;
use burn::tensor::Device;
use cadft_step::OptimizerOptions;
use cadft_step::optimizer::{AdjustLr, MomentFormat, OptimizerKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How parameters are updated; norms and biases do not decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct OptimizerSection {
    /// How parameters are updated; the DFT code's: AdamW.
    pub kind: OptimizerKind,
    /// Peak learning rate; the DFT code's: 5e-5.
    pub lr: f64,
    /// Decay of the two moments of AdamW; the DFT code's: 0.9, 0.95.
    pub betas: [f64; 2],
    /// Decoupled weight decay; the DFT code's: 0.01.
    pub weight_decay: f64,
    /// Added to the root of the second moment; `PyTorch`'s: 1e-8.
    pub eps: f64,
    /// LoRA+ (arXiv 2402.12354): the learning rate of the matrices `B` of an adapter and of `DoRA`'s magnitudes is this
    /// many times `lr`, in the groups of PEFT. Its paper advises 16. Ours: 1, one learning rate.
    pub loraplus_lr_ratio: f64,
    /// Adafactor: whether the learning rate is multiplied by the size of a parameter, its root mean square. Ours: no.
    pub scale_parameter: bool,
    /// Muon: decay of the momentum; its author's: 0.95.
    pub momentum: f64,
    /// Muon: how the learning rate of a matrix depends on its shape. Ours: `match-rms-adamw`, because embeddings and vectors have
    /// the same `lr` under AdamW.
    pub adjust_lr: AdjustLr,
    /// How the two moments of AdamW are kept between updates, which are computed in f32. Ours: f32.
    pub moments: MomentFormat,
    /// Largest global gradient norm; the DFT code's: 1.
    pub clip: f64,
}

impl Default for OptimizerSection {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            lr: 5e-5,
            betas: [0.9, 0.95],
            weight_decay: 0.01,
            eps: 1e-8,
            loraplus_lr_ratio: 1.0,
            scale_parameter: false,
            momentum: 0.95,
            adjust_lr: AdjustLr::MatchRmsAdamw,
            moments: MomentFormat::F32,
            clip: 1.0,
        }
    }
}

impl Recipe {
    /// The options of the optimizer.
    pub(crate) fn optimizer_options(&self) -> OptimizerOptions {
        let section = &self.optimizer;
        OptimizerOptions {
            kind: section.kind,
            betas: section.betas,
            weight_decay: section.weight_decay,
            eps: section.eps,
            loraplus_lr_ratio: section.loraplus_lr_ratio,
            moments: section.moments,
            scale_parameter: section.scale_parameter,
            momentum: section.momentum,
            adjust_lr: section.adjust_lr,
            seed: self.run.seed,
        }
    }

    /// What the optimizer requires of shards, which own rows of parameters.
    pub(super) fn of_shards(&self) -> Vec<Requirement> {
        let is_whole = self.batch.shards() == 1;
        vec![
            (
                is_whole || self.optimizer.moments != MomentFormat::Int8,
                "optimizer.moments",
                "`int8` has scales across rows, and shards and ranks own rows: set it to `bf16`, or train on one",
            ),
            (
                is_whole || self.optimizer.kind == OptimizerKind::AdamW,
                "optimizer.kind",
                "`adafactor` and `muon` need whole matrices, and shards and ranks own rows: set it to `adamw`, or train on one",
            ),
        ]
    }

    /// What `kind`, and the settings of one kind, require.
    pub(super) fn kind_requirements(&self) -> Vec<Requirement> {
        let section = &self.optimizer;
        let default = OptimizerSection::default();
        let is = |kind| section.kind == kind;
        vec![
            (
                is(OptimizerKind::AdamW) || section.moments == MomentFormat::F32,
                "optimizer.moments",
                "only the moments of `adamw` are kept in another way than `f32`",
            ),
            (
                is(OptimizerKind::Adafactor) || section.scale_parameter == default.scale_parameter,
                "optimizer.scale-parameter",
                "belongs to `optimizer.kind = \"adafactor\"`",
            ),
            (
                is(OptimizerKind::Muon) || section.momentum == default.momentum,
                "optimizer.momentum",
                "belongs to `optimizer.kind = \"muon\"`",
            ),
            (
                (0.0..1.0).contains(&section.momentum),
                "optimizer.momentum",
                "must be at least 0 and below 1",
            ),
            (
                is(OptimizerKind::Muon) || section.adjust_lr == default.adjust_lr,
                "optimizer.adjust-lr",
                "belongs to `optimizer.kind = \"muon\"`",
            ),
        ]
    }

    /// Checks that moments can be kept in the recipe's format on `device`.
    pub(crate) fn check_moments(&self, device: &Device) -> Result<(), TrainError> {
        let format = self.optimizer.moments;
        if !format.is_of_host() || host_for(device).is_none() {
            return Ok(());
        }
        Err(TrainError::mismatch(
            format!(
                "`optimizer.moments`: `{}` has no kernel for this device",
                format.name()
            ),
            "set it to `host`: the moments are then in f32 in the memory of the host, and take none of the device",
        ))
    }
}
