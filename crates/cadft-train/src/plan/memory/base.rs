//! What packed weights under an adapter take.

use super::{F32, MIB, MemorySettings};
use cadft_model::parameters::expected_parameters;
use cadft_model::{FrozenBase, ModelConfig};

/// The most that a product unpacks of a weight at a time.
const PANEL: f64 = 16.0 * MIB;

/// Bytes that a product unpacks at a time; none for weights in f32.
pub(super) fn panel(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let sizes = packed(config, settings).into_iter().map(|(size, _)| F32 * size);
    sizes.fold(0.0, f64::max).min(PANEL)
}

/// Bytes that the packed weights of a model take less than in f32.
pub(super) fn spared(config: &ModelConfig, settings: &MemorySettings<'_>) -> f64 {
    let spared = packed(config, settings)
        .into_iter()
        .map(|(size, bytes)| F32 * size - bytes);
    spared.sum()
}

/// Elements and bytes of each packed weight.
fn packed(config: &ModelConfig, settings: &MemorySettings<'_>) -> Vec<(f64, f64)> {
    let Some(((_, targets), format)) = settings.adapter.zip(settings.base.packed()) else {
        return vec![];
    };
    let base = FrozenBase {
        format,
        trained: targets.saved.clone(),
    };
    let of = |(name, shape): (String, Vec<usize>)| {
        let format = base.packs(name.strip_suffix(".weight")?)?;
        let &[output, input] = shape.as_slice() else {
            return None;
        };
        Some(((output * input) as f64, format.bytes([output, input]) as f64))
    };
    expected_parameters(config).into_iter().filter_map(of).collect()
}
