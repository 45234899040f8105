//! What `train --dry-run` prints of settings that take less memory.

use crate::console::count;
use cadft_train::config::MemoryOf;
use cadft_train::{Plan, Rung};

/// The settings of the first rung that fits into `room` MiB: none if the recipe does; `None` if nothing fits. A rung that trains
/// something else is not among them.
pub(super) fn fitting(plan: &Plan, room: f64) -> Option<Vec<String>> {
    if plan.memory_mib + plan.saving_mib <= room {
        return Some(vec![]);
    }
    let mut same = plan.ladder.iter().filter(|rung| rung.is_same_training);
    same.find(|rung| rung.most_mib() <= room)
        .map(|rung| rung.settings.clone())
}

/// A line for the memory that there is, and one for each rung.
pub(super) fn lines(plan: &Plan, room: Option<f64>) -> Vec<(String, String)> {
    let there_is = room.map(|room| {
        let text = match fitting(plan, room) {
            None => "too little".to_owned(),
            Some(settings) if settings.is_empty() => "enough".to_owned(),
            Some(settings) => format!("enough with `{}`", settings.join("`, `")),
        };
        (
            "available".to_owned(),
            format!("{} MiB: {text}", count(room as usize)),
        )
    });
    let rungs = plan
        .ladder
        .iter()
        .map(|rung| (format!("  {} MiB", count(rung.memory_mib as usize)), line(rung)));
    there_is.into_iter().chain(rungs).collect()
}

/// A rung: its settings, what it costs and changes, and the smallest device for it.
fn line(rung: &Rung) -> String {
    let device = match MemoryOf::smallest(rung.most_mib()) {
        Some(device) => format!("; `{}`", device.name()),
        None => String::new(),
    };
    format!(
        "{}; time: {}; numbers: {}{device}",
        rung.shown(),
        rung.time,
        rung.numbers
    )
}
