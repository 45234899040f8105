//! What a frozen model of another directory takes beside the trained one.

use super::{F32, MemorySettings};
use cadft_model::ModelConfig;
use cadft_model::parameters::expected_parameters;

/// The model of `[reference]`, where it is not the one that the run begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherModel {
    /// Its parameters.
    pub parameters: usize,
    /// Whether it stays for the whole run. Otherwise it is freed before the first step.
    pub stays: bool,
}

impl OtherModel {
    pub(crate) fn new(config: &ModelConfig, stays: bool) -> Self {
        let shapes = expected_parameters(config).into_iter();
        Self {
            parameters: shapes.map(|(_, shape)| shape.iter().product::<usize>()).sum(),
            stays,
        }
    }
}

/// Bytes of it in training, and before the first step.
pub(super) fn bytes(settings: &MemorySettings<'_>) -> [f64; 2] {
    match settings.other {
        None => [0.0; 2],
        Some(OtherModel { parameters, stays }) => {
            let all = F32 * parameters as f64;
            [if stays { all } else { 0.0 }, all]
        }
    }
}
