//! Settings with which training takes less memory.

use super::{MemorySettings, training_mib};
use cadft_model::ModelConfig;
use cadft_model::decoder::Recompute;
use cadft_step::ranks::ZeroStage;

/// Settings that reduce memory, applied one after the other, each with the resulting estimate in MiB.
pub(crate) fn ways(config: &ModelConfig, settings: &MemorySettings<'_>) -> Vec<(&'static str, f64)> {
    let mut settings = *settings;
    let mut ways = vec![];
    if settings.recompute == Recompute::None {
        settings.recompute = Recompute::Blocks;
        ways.push(("model.recompute = \"blocks\"", training_mib(config, &settings)));
    }
    if settings.share.ranks > 1 && settings.share.stage == ZeroStage::One {
        settings.share.stage = ZeroStage::Two;
        ways.push(("batch.zero-stage = 2", training_mib(config, &settings)));
    }
    ways
}

/// What training takes with one sample in a forward pass, which `settings` are for, and with activations computed again, too.
pub(crate) fn smaller(config: &ModelConfig, settings: &MemorySettings<'_>) -> [(&'static str, f64); 2] {
    let recomputed = MemorySettings {
        recompute: Recompute::Blocks,
        ..*settings
    };
    [
        ("batch.micro = 1", training_mib(config, settings)),
        (
            "batch.micro = 1` and `model.recompute = \"blocks\"",
            training_mib(config, &recomputed),
        ),
    ]
}
