//! Ranks that panic, instead of waiting forever, if they make different calls.

use super::{Collective, Watch};
use std::time::Duration;

/// Compares every call with those of the other ranks before making it. A mismatch is then an error instead of a hang.
///
/// # Panics
/// Its methods panic if ranks make different calls; the message names the call of each rank.
#[derive(Debug)]
pub struct Checked<C>(pub C);

impl<C: Collective> Checked<C> {
    fn check(&self, call: &str) {
        let calls: Vec<String> = (self.0.tell(call.as_bytes()).into_iter())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        if let Some(other) = calls.iter().position(|other| other != call) {
            panic!(
                "ranks must make the same calls: rank {} makes `{call}`, rank {other} makes `{}`",
                self.0.rank(),
                calls[other]
            );
        }
    }
}

impl<C: Collective> Collective for Checked<C> {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn ranks(&self) -> usize {
        self.0.ranks()
    }

    fn sum(&self, values: &mut [f64]) {
        self.check(&format!("sum of {}", values.len()));
        self.0.sum(values);
    }

    fn swap(&self, parts: &[&[f32]], lengths: &[usize]) -> Vec<Vec<f32>> {
        // Lengths differ between ranks; only what one rank sends and the other expects must agree.
        self.check("swap");
        let sent: Vec<u8> = (parts.iter())
            .flat_map(|part| (part.len() as u64).to_le_bytes())
            .collect();
        for (rank, sent) in self.0.tell(&sent).into_iter().enumerate() {
            let (lengths_sent, _) = sent.as_chunks::<8>();
            let to_here = lengths_sent
                .get(self.rank())
                .map(|bytes| u64::from_le_bytes(*bytes));
            assert_eq!(
                to_here,
                Some(lengths[rank] as u64),
                "rank {rank} sends another number of values than rank {} expects",
                self.rank()
            );
        }
        self.0.swap(parts, lengths)
    }

    fn gather(&self, part: &[f32], lengths: &[usize]) -> Vec<Vec<f32>> {
        self.check(&format!("gather of {lengths:?}"));
        assert_eq!(
            part.len(),
            lengths[self.rank()],
            "the part of rank {}",
            self.rank()
        );
        self.0.gather(part, lengths)
    }

    fn tell(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.check("tell");
        self.0.tell(bytes)
    }

    fn name(&self, rank: usize) -> String {
        self.0.name(rank)
    }

    fn on_machine(&self) -> usize {
        self.0.on_machine()
    }

    fn place_on_machine(&self) -> usize {
        self.0.place_on_machine()
    }

    fn watch(&self, patience: Duration, watch: Box<dyn Watch>) {
        self.0.watch(patience, watch);
    }

    fn end_all(&self, code: i32) {
        self.0.end_all(code);
    }
}
