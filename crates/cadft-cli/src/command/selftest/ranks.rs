//! What ranks exchange between devices is what they have: sums by the tree of shards, and parts put together.
//!
//! Ranks that talk through the host are threads here, on one device. Between devices there is one rank: what it sends to itself
//! comes after what is queued before it, and before what is queued after it.

use super::Bench;
use super::arrays::{drawn, tensor, values};
use super::report::Report;
use crate::tolerance::EXACT;
use anyhow::Result;
use burn::tensor::Device;
use cadft_step::ranks::{Collective, Local, Plane, Staged, between_devices};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::thread;

/// Values of a rank.
const VALUES: usize = 5003;
const RANKS: usize = 3;
/// Exchanges between devices, each between kernels.
const ROUNDS: usize = 1000;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let parts: Vec<Vec<f64>> = (20..).take(RANKS).map(|seed| drawn(VALUES, seed)).collect();
    // (0 + 1) + 2, each sum rounded.
    let sums: Vec<f64> = (0..VALUES)
        .map(|at| rounded(rounded(parts[0][at] + parts[1][at]) + parts[2][at]))
        .collect();
    let on_all = parts.concat().repeat(RANKS);
    let found = of_threads(&parts, &bench.device);
    let folded: Vec<f64> = found.iter().flat_map(|[folded, _]| folded.clone()).collect();
    report.compare("ranks through the host: sum by shards", &folded, &sums, EXACT)?;
    let gathered: Vec<f64> = found.iter().flat_map(|[_, gathered]| gathered.clone()).collect();
    report.compare("ranks through the host: all parts", &gathered, &on_all, EXACT)?;
    let host: Rc<dyn Collective> = Rc::new(Local::all(1).remove(0));
    match between_devices(&host, &bench.device) {
        Some(plane) => between_kernels(&*plane, &bench.device, report),
        None => Ok(()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "that is what rounds")]
fn rounded(value: f64) -> f64 {
    f64::from(value as f32)
}

/// What each of the ranks has of the sum, a third each, and all parts as it has them.
fn of_threads(parts: &[Vec<f64>], device: &Device) -> Vec<[Vec<f64>; 2]> {
    let third = VALUES / RANKS;
    let cuts = [0..third, third..2 * third, 2 * third..VALUES];
    let wholes = [0..VALUES, VALUES..2 * VALUES, 2 * VALUES..RANKS * VALUES];
    thread::scope(|scope| {
        let threads: Vec<_> = (Local::all(RANKS).into_iter().zip(parts))
            .map(|(local, part)| {
                let (cuts, wholes) = (&cuts, &wholes);
                scope.spawn(move || {
                    let plane = Staged(Rc::new(local));
                    let folded = plane.fold(tensor(part, [VALUES], device), cuts, &[true; RANKS]);
                    let gathered = plane.gather(tensor(part, [VALUES], device), wholes);
                    [values(folded), values(gathered)]
                })
            })
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|found| found.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// One rank, whose exchanges change nothing, with a kernel before and one after each.
fn between_kernels(plane: &dyn Plane, device: &Device, report: &mut Report) -> Result<()> {
    let [first, step] = [30, 31].map(|seed| tensor::<1>(&drawn(VALUES, seed), [VALUES], device));
    let whole = 0..VALUES;
    let (mut found, mut expected) = (first.clone(), first);
    for round in 0..ROUNDS {
        let queued = found * 0.5;
        let exchanged = match round % 3 {
            0 => plane.fold(queued, std::slice::from_ref(&whole), &[true]),
            1 => plane.gather(queued, std::slice::from_ref(&whole)),
            _ => plane.sum(queued),
        };
        found = exchanged + step.clone();
        expected = expected * 0.5 + step.clone();
    }
    let [found, expected] = [found, expected].map(values);
    report.compare("ranks between devices: among kernels", &found, &expected, EXACT)
}
