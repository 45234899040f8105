//! Checks the memory of a run before it starts, so that it ends with a clear error instead of being killed.

use crate::available::{MIB, MemoryLimit, Room, address_bytes, group_bytes, machine_bytes};
use crate::config::OnLowMemory;
use crate::device::host_for;
use crate::error::TrainError;
use crate::fit;
use crate::plan::Rung;
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
/// The same for the address space, which swapping does not extend: only the error of the estimate is left.
const CERTAIN_OF_ADDRESSES: f64 = 1.15;
/// The same for a device that the recipe names. It has no swap, and its allocator keeps more than is in use.
const CERTAIN_OF_DEVICE: f64 = 1.0;
/// Address space, in MiB, that threads of a run reserve and do not use: the allocator's areas and the stacks of those
/// that read weights and write checkpoints.
const RESERVED_MIB: f64 = 128.0;

/// Compares the plan's estimate with the available memory. Returns a warning if the memory may not suffice.
///
/// # Errors
/// [`TrainError::Memory`] if the run certainly does not fit, unless `guard.memory` is `warn`.
pub fn check(prepared: &Prepared) -> Result<Option<Warning>, TrainError> {
    let plan = &prepared.plan;
    // Files of weights are mapped while they are read.
    let reading = plan.weights_mib + mapped_bytes(&prepared.model_directory) as f64 / MIB;
    let room = fit::rooms_of(&prepared.recipe, &prepared.device, prepared.ranks.on_machine);
    let fits = room.into_iter().map(|room| {
        let (least, reserved) = match room.limit {
            MemoryLimit::Addresses => (reading, RESERVED_MIB),
            MemoryLimit::Machine | MemoryLimit::Group | MemoryLimit::Device(_) => (0.0, 0.0),
        };
        Fit {
            needed: plan.memory_mib.max(least) + reserved,
            saving: plan.saving_mib,
            room,
        }
    });
    match fits.max_by(|a, b| a.excess().total_cmp(&b.excess())) {
        Some(fit) => fit.judge(prepared.recipe.guard.memory, &plan.ladder),
        None => Ok(None),
    }
}

/// The memory in MiB that each rank of a run may use; `None` if nothing reports it.
#[must_use]
pub fn room(prepared: &Prepared) -> Option<f64> {
    fit::least(&prepared.recipe, &prepared.device, prepared.ranks)
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
    let mapped = mapped_bytes(directory);
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

/// The bytes of the files of weights of a model.
fn mapped_bytes(directory: &Path) -> u64 {
    (cadft_files::entries(directory).unwrap_or_default().iter())
        .filter(|name| name.ends_with(".safetensors"))
        .filter_map(|name| Some(fs::metadata(directory.join(name)).ok()?.len()))
        .sum()
}

/// What a run needs, and what is available under one limit.
#[derive(Clone, Copy)]
struct Fit {
    /// Memory of the run in MiB.
    needed: f64,
    /// Additional memory while a checkpoint is written, in MiB.
    saving: f64,
    room: Room,
}

impl Fit {
    /// Above 1, the run certainly does not fit.
    fn excess(&self) -> f64 {
        let certain = match self.room.limit {
            MemoryLimit::Addresses => CERTAIN_OF_ADDRESSES,
            MemoryLimit::Device(_) => CERTAIN_OF_DEVICE,
            MemoryLimit::Machine | MemoryLimit::Group => CERTAIN,
        };
        self.needed / self.room.mib / certain
    }

    /// `ladder` has settings that need less memory.
    fn judge(&self, on_low_memory: OnLowMemory, ladder: &[Rung]) -> Result<Option<Warning>, TrainError> {
        let Room {
            mib: available,
            limit,
        } = self.room;
        let most = self.needed + self.saving;
        if most <= available {
            return Ok(None);
        }
        let way = ladder.iter().find(|rung| rung.memory_mib < available);
        let way = way.map(|rung| {
            let (settings, mib) = (rung.shown(), rung.memory_mib);
            format!("with {settings}, about {mib:.0} MiB are needed")
        });
        if on_low_memory != OnLowMemory::Warn && self.excess() > 1.0 {
            return Err(TrainError::Memory {
                needed: self.needed,
                available,
                limit,
                way,
            });
        }
        Ok(Some(Warning::new(
            format!("the run may need {most:.0} MiB of memory, and {available:.0} MiB are available {limit}"),
            way.unwrap_or_else(|| {
                "lower `batch.micro` or `data.max-length`, or train an adapter or a smaller model".to_owned()
            }),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges a run that needs `needed` MiB, and `saving` more.
    fn judged(
        (needed, saving): (f64, f64),
        (mib, limit): (f64, MemoryLimit),
        on_low_memory: OnLowMemory,
        ladder: &[Rung],
    ) -> Result<Option<Warning>, TrainError> {
        let room = Room { mib, limit };
        let fit = Fit { needed, saving, room };
        fit.judge(on_low_memory, ladder)
    }

    #[test]
    fn what_cannot_fit_is_refused_and_what_may_not_is_told() {
        let judge = |needed, saving, available| {
            let room = (available, MemoryLimit::Machine);
            judged((needed, saving), room, OnLowMemory::Refuse, &[])
        };
        assert_eq!(judge(100.0, 0.0, 100.0).unwrap(), None);
        assert!(judge(100.0, 0.0, 90.0).unwrap().is_some());
        assert!(judge(100.0, 100.0, 110.0).unwrap().is_some());
        assert_eq!(judge(100.0, 100.0, 200.0).unwrap(), None);
        let error = cadft_files::with_hints(&judge(100.0, 0.0, 60.0).unwrap_err());
        assert!(
            error.contains("100 MiB") && error.contains("60 MiB") && error.contains("hint:"),
            "{error}"
        );
        let room = (60.0, MemoryLimit::Machine);
        let warned = judged((100.0, 0.0), room, OnLowMemory::Warn, &[]);
        assert!(warned.unwrap().is_some());
    }

    #[test]
    fn addresses_are_a_harder_limit_than_memory_and_the_limit_is_named() {
        for (limit, available, refused, name) in [
            (MemoryLimit::Machine, 80.0, false, "on this machine"),
            (MemoryLimit::Group, 80.0, false, "in the control group"),
            (MemoryLimit::Addresses, 80.0, true, "under `ulimit -v`"),
            (MemoryLimit::Addresses, 90.0, false, "under `ulimit -v`"),
            (MemoryLimit::Group, 60.0, true, "in the control group"),
        ] {
            let judged = judged((100.0, 0.0), (available, limit), OnLowMemory::Refuse, &[]);
            assert_eq!(judged.is_err(), refused, "{limit:?}");
            let said = match judged {
                Ok(warning) => warning.expect("too little memory").message,
                Err(error) => error.to_string(),
            };
            assert!(said.contains(name), "{said}");
        }
    }

    #[test]
    fn the_first_setting_that_is_enough_is_named() {
        let ladder =
            [("a = 1", 90.0), ("b = 2", 70.0), ("c = 3", 10.0)].map(|(setting, mib)| Rung::of(setting, mib));
        let said = |available| {
            let room = (available, MemoryLimit::Machine);
            match judged((150.0, 0.0), room, OnLowMemory::Refuse, &ladder) {
                Ok(warning) => warning.expect("too little memory").hint,
                Err(error) => cadft_files::with_hints(&error),
            }
        };
        assert!(said(110.0).contains("with `a = 1`, about 90 MiB are needed"));
        assert!(said(80.0).contains("with `b = 2`, about 70 MiB are needed"));
        assert!(said(5.0).contains("lower `batch.micro`"));
    }
}
