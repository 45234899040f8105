//! Checks the memory of a run before it starts, so that it ends with a clear error instead of being killed.

use crate::available::{MIB, address_bytes, available_mib, group_bytes, machine_bytes};
use crate::config::OnLowMemory;
use crate::device::host_for;
use crate::error::TrainError;
use crate::prepare::Prepared;
use crate::warning::Warning;
use burn::tensor::Device;
use cadft_files::shown;
use cadft_model::ModelConfig;
use cadft_model::parameters::expected_parameters;
use std::fs;
use std::path::Path;

/// If an estimate exceeds the available memory by this factor, the run certainly does not fit.
const CERTAIN: f64 = 1.5;

/// Compares the plan's estimate with the available memory. Returns a warning if the memory may not suffice.
///
/// # Errors
/// [`TrainError::Memory`] if the run certainly does not fit, unless `guard.memory` is `warn`.
pub fn check(prepared: &Prepared) -> Result<Option<Warning>, TrainError> {
    if host_for(&prepared.device).is_some() {
        return Ok(None);
    }
    // Available memory for each rank on this machine.
    let available =
        available_mib(Path::new("/")).map(|available| available / prepared.ranks.on_machine as f64);
    let plan = &prepared.plan;
    let needed = (plan.memory_mib, plan.memory_mib + plan.saving_mib);
    judge(needed, available, prepared.recipe.guard.memory, &plan.ways)
}

/// Refuses a model whose weights alone do not fit into memory, if the device computes in host memory.
///
/// This is a lower bound: the weights in f32, and the address space of their files. So the refusal is certain, and
/// there is no warning.
///
/// # Errors
/// [`TrainError::Mismatch`] with both sizes.
pub fn check_weights(config: &ModelConfig, directory: &Path, device: &Device) -> Result<(), TrainError> {
    if host_for(device).is_some() {
        return Ok(());
    }
    let root = Path::new("/");
    let sizes = expected_parameters(config);
    let weights = sizes
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum::<usize>()
        * 4;
    let mapped: u64 = (cadft_files::entries(directory).unwrap_or_default().iter())
        .filter(|name| name.ends_with(".safetensors"))
        .filter_map(|name| Some(fs::metadata(directory.join(name)).ok()?.len()))
        .sum();
    let of_memory = [machine_bytes(root), group_bytes(root)]
        .into_iter()
        .flatten()
        .min();
    let of_addresses = address_bytes(root).map(|bytes| bytes.saturating_sub(mapped));
    let Some(available) = of_memory.into_iter().chain(of_addresses).min() else {
        return Ok(());
    };
    if weights as u64 <= available {
        return Ok(());
    }
    Err(TrainError::mismatch(
        format!(
            "the weights of `{}` take {:.0} MiB of memory, and {:.0} MiB are available",
            shown(directory),
            weights as f64 / MIB,
            available as f64 / MIB
        ),
        "take a smaller model, or free some memory; `ulimit -v` limits it, too",
    ))
}

/// `needed` is the memory of the run, `most` the memory while a checkpoint is written. `ways` are settings that need
/// less memory, each with the run's estimate.
fn judge(
    (needed, most): (f64, f64),
    available: Option<f64>,
    on_low_memory: OnLowMemory,
    ways: &[(&str, f64)],
) -> Result<Option<Warning>, TrainError> {
    let Some(available) = available.filter(|&available| most > available) else {
        return Ok(None);
    };
    let way = ways.iter().find(|(_, mib)| *mib < available);
    let way = way.map(|(setting, mib)| format!("with `{setting}`, about {mib:.0} MiB are needed"));
    if on_low_memory == OnLowMemory::Refuse && needed > CERTAIN * available {
        return Err(TrainError::Memory {
            needed,
            available,
            way,
        });
    }
    Ok(Some(Warning::new(
        format!("the run may need {most:.0} MiB of memory, and {available:.0} MiB are available"),
        way.unwrap_or_else(|| {
            "lower `batch.micro` or `data.max-length`, or train an adapter or a smaller model".to_owned()
        }),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_and_what_may_not_is_told() {
        let judge = |needed, available| judge((needed, needed), available, OnLowMemory::Refuse, &[]);
        assert_eq!(judge(100.0, None).unwrap(), None);
        assert_eq!(judge(100.0, Some(100.0)).unwrap(), None);
        assert!(judge(100.0, Some(90.0)).unwrap().is_some());
        let saving = |available| super::judge((100.0, 200.0), available, OnLowMemory::Refuse, &[]);
        assert!(saving(Some(110.0)).unwrap().is_some() && saving(Some(200.0)).unwrap().is_none());
        let error = cadft_files::with_hints(&judge(100.0, Some(60.0)).unwrap_err());
        assert!(
            error.contains("100 MiB") && error.contains("60 MiB") && error.contains("hint:"),
            "{error}"
        );
        assert!(
            super::judge((100.0, 100.0), Some(60.0), OnLowMemory::Warn, &[])
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn the_first_setting_that_is_enough_is_named() {
        let ways = [("a = 1", 90.0), ("b = 2", 70.0), ("c = 3", 10.0)];
        let said = |available| {
            let judged = super::judge((150.0, 150.0), Some(available), OnLowMemory::Refuse, &ways);
            match judged {
                Ok(warning) => warning.expect("too little memory").hint,
                Err(error) => cadft_files::with_hints(&error),
            }
        };
        assert!(said(110.0).contains("with `a = 1`, about 90 MiB are needed"));
        assert!(said(80.0).contains("with `b = 2`, about 70 MiB are needed"));
        assert!(said(5.0).contains("lower `batch.micro`"));
    }
}
