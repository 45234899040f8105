//! What packed weights under an adapter take.

use super::MemorySettings;
use cadft_model::{BaseFormat, FrozenBase};

/// The panel of a weight that a product unpacks at a time.
const PANEL: f64 = 16.0 * super::MIB;

/// Bytes of the panel; none for weights in f32.
pub(super) fn panel(base: BaseFormat) -> f64 {
    base.packed().map_or(0.0, |_| PANEL)
}

/// Bytes that the packed weights among `shapes` take less than in f32.
pub(super) fn spared(settings: &MemorySettings<'_>, shapes: &[(String, Vec<usize>)]) -> f64 {
    let Some(((_, targets), format)) = settings.adapter.zip(settings.base.packed()) else {
        return 0.0;
    };
    let base = FrozenBase {
        format,
        trained: targets.saved.clone(),
    };
    let of = |(name, shape): &(String, Vec<usize>)| {
        let format = base.packs(name.strip_suffix(".weight")?)?;
        let &[output, input] = shape.as_slice() else {
            return None;
        };
        let packed = format.bytes([output, input]);
        Some((4 * output * input).saturating_sub(packed) as f64)
    };
    shapes.iter().filter_map(of).sum()
}
