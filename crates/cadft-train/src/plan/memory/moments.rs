//! What the moments of the optimizer take, on the rank that has most.

use super::{F32, MemorySettings, Share};
use cadft_model::ModelConfig;
use cadft_model::parameters::expected_parameters;
use cadft_step::optimizer::{MomentFormat, moment_bytes};
use cadft_step::ranks::owned_values;

/// The largest number of trained values that any rank owns.
pub(super) fn owned(config: &ModelConfig, settings: &MemorySettings<'_>, trained: f64) -> f64 {
    let Share { ranks, shards, .. } = settings.share;
    if ranks == 1 {
        return trained;
    }
    let most = owned_values(&sizes(config, settings), shards, ranks)
        .into_iter()
        .max();
    most.map_or(trained, |most| most as f64)
}

/// Bytes of the moments on the device, of a rank that owns `owned` values.
pub(super) fn bytes(config: &ModelConfig, settings: &MemorySettings<'_>, owned: f64) -> f64 {
    match settings.moments {
        // A CPU is its own host, and has them in any case.
        MomentFormat::F32 => 2.0 * F32 * owned,
        MomentFormat::Host if settings.is_host => 2.0 * F32 * owned,
        MomentFormat::Host => 0.0,
        MomentFormat::Bf16 => F32 * owned,
        // There are no shards, so all parameters are owned.
        MomentFormat::Int8 => (sizes(config, settings).into_iter())
            .map(|[_, length]| moment_bytes(length, MomentFormat::Int8) as f64)
            .sum(),
    }
}

/// The sizes of the trained parameters, `[rows, values]`.
fn sizes(config: &ModelConfig, settings: &MemorySettings<'_>) -> Vec<[usize; 2]> {
    let shapes = expected_parameters(config);
    let of = |shape: &[usize]| [shape[0], shape.iter().product()];
    let Some((adapter, targets)) = settings.adapter else {
        return shapes.iter().map(|(_, shape)| of(shape)).collect();
    };
    let saved = shapes.iter().filter(|(name, _)| {
        let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
        targets.saved.iter().any(|saved| saved == module)
    });
    let updates = (targets.layers.iter())
        .flat_map(|(_, [output, input])| [[adapter.rank, *input], [*output, adapter.rank]]);
    (saved.map(|(_, shape)| of(shape)))
        .chain(updates.map(|shape| of(&shape)))
        .collect()
}
