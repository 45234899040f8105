//! What the moments of the optimizer take, on the rank that has most.

use super::{F32, MemorySettings, Share};
use cadft_model::ModelConfig;
use cadft_model::parameters::expected_parameters;
use cadft_step::optimizer::{MomentFormat, OptimizerKind, is_hidden_matrix, moment_bytes};
use cadft_step::ranks::owned_values;

/// Tensors of the size of a parameter that its update by Adafactor or Muon has at a time.
const TEMPORARY: f64 = 4.0;

/// The largest number of trained values that any rank owns.
pub(super) fn owned(config: &ModelConfig, settings: &MemorySettings<'_>, trained: f64) -> f64 {
    let Share { ranks, shards, .. } = settings.share;
    if ranks == 1 {
        return trained;
    }
    let sizes: Vec<[usize; 2]> = (trained_shapes(config, settings).iter())
        .map(|(_, shape)| [shape[0], shape.iter().product()])
        .collect();
    let most = owned_values(&sizes, shards, ranks).into_iter().max();
    most.map_or(trained, |most| most as f64)
}

/// Bytes of the moments on the device, of a rank that owns `owned` values.
pub(super) fn bytes(config: &ModelConfig, settings: &MemorySettings<'_>, owned: f64) -> f64 {
    match settings.kind {
        OptimizerKind::AdamW => {}
        // One number for each row and column, and for each value of a vector.
        OptimizerKind::Adafactor => {
            let means = |(_, shape): (String, Vec<usize>)| F32 * shape.iter().sum::<usize>() as f64;
            return trained_shapes(config, settings).into_iter().map(means).sum();
        }
        OptimizerKind::Muon => {
            let of = |(name, shape): (String, Vec<usize>)| {
                let is_hidden = is_hidden_matrix(&name, shape.len());
                let moments = if is_hidden { 1.0 } else { 2.0 };
                moments * F32 * shape.iter().product::<usize>() as f64
            };
            return trained_shapes(config, settings).into_iter().map(of).sum();
        }
    }
    match settings.moments {
        // A CPU is its own host, and has them in any case.
        MomentFormat::F32 => 2.0 * F32 * owned,
        MomentFormat::Host if settings.is_host => 2.0 * F32 * owned,
        MomentFormat::Host => 0.0,
        MomentFormat::Bf16 => F32 * owned,
        // There are no shards, so all parameters are owned.
        MomentFormat::Int8 => (trained_shapes(config, settings).into_iter())
            .map(|(_, shape)| moment_bytes(shape.iter().product(), MomentFormat::Int8) as f64)
            .sum(),
    }
}

/// Bytes of what the update of the largest parameter makes and frees.
pub(super) fn temporary(settings: &MemorySettings<'_>, largest: f64) -> f64 {
    match settings.kind {
        OptimizerKind::AdamW => 0.0,
        OptimizerKind::Adafactor | OptimizerKind::Muon => TEMPORARY * F32 * largest,
    }
}

/// The names and shapes of the trained parameters.
fn trained_shapes(config: &ModelConfig, settings: &MemorySettings<'_>) -> Vec<(String, Vec<usize>)> {
    let mut shapes = expected_parameters(config);
    let Some((adapter, targets)) = settings.adapter else {
        return shapes;
    };
    shapes.retain(|(name, _)| {
        let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
        targets.saved.iter().any(|saved| saved == module)
    });
    for (name, [output, input]) in &targets.layers {
        shapes.push((format!("{name}.lora_A"), vec![adapter.rank, *input]));
        shapes.push((format!("{name}.lora_B"), vec![*output, adapter.rank]));
    }
    shapes
}
