//! The memory that a run may use, and the settings with which it fits into it.

use crate::available::{MemoryLimit, Room, rooms};
use crate::config::{MemoryOf, OnLowMemory, Recipe};
use crate::device::host_for;
use crate::error::TrainError;
use crate::plan::{Plan, RanksOfRun, Rung};
use burn::tensor::Device;
use std::path::Path;

/// What each rank of a run may use, under each limit; empty if the system does not report it.
pub(crate) fn rooms_of(recipe: &Recipe, device: &Device, on_machine: usize) -> Vec<Room> {
    let named = recipe.guard.memory_of;
    if let Some(mib) = named.mib() {
        let limit = MemoryLimit::Device(named);
        return vec![Room { mib, limit }];
    }
    if host_for(device).is_some() {
        return vec![];
    }
    // Each rank on this machine has its part.
    let part = |room: Room| Room {
        mib: room.mib / on_machine as f64,
        ..room
    };
    rooms(Path::new("/")).into_iter().map(part).collect()
}

/// The least of them in MiB; `None` if nothing reports it.
pub(crate) fn least(recipe: &Recipe, device: &Device, ranks: RanksOfRun) -> Option<f64> {
    let rooms = rooms_of(recipe, device, ranks.on_machine);
    rooms.iter().map(|room| room.mib).min_by(f64::total_cmp)
}

/// With `guard.memory = "auto"`, the first rung of the plan's ladder that fits, if the recipe does not fit as it is.
///
/// # Errors
/// [`TrainError::Mismatch`] if nothing reports the memory, or several ranks would ask for it at different times.
pub(crate) fn taken(
    recipe: &Recipe,
    plan: &Plan,
    (device, ranks): (&Device, RanksOfRun),
) -> Result<Option<Rung>, TrainError> {
    if recipe.guard.memory != OnLowMemory::Auto {
        return Ok(None);
    }
    let name_one = "name the device, as in `guard.memory-of = \"card-24gb\"`";
    if ranks.count > 1 && recipe.guard.memory_of == MemoryOf::System {
        return Err(TrainError::mismatch(
            "`guard.memory`: `auto` with several ranks, which might take different settings",
            name_one,
        ));
    }
    let Some(room) = least(recipe, device, ranks) else {
        return Err(TrainError::mismatch(
            "`guard.memory`: `auto` on a device whose memory nothing reports",
            name_one,
        ));
    };
    if plan.memory_mib + plan.saving_mib <= room {
        return Ok(None);
    }
    let mut same = plan.ladder.iter().filter(|rung| rung.is_same_training);
    Ok(same.find(|rung| rung.most_mib() <= room).cloned())
}
