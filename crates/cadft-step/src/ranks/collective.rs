//! What ranks do together: on the host, and on devices.

use burn::tensor::Tensor;
use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

/// What ranks do together through the memory of the host.
///
/// All ranks call the same methods in the same order and with the same sizes. Nothing here returns an error: if a rank is lost,
/// the process ends, or the thread unwinds with [`Lost`].
pub trait Collective: Debug {
    /// Which of the ranks this one is, counted from 0.
    fn rank(&self) -> usize;
    /// How many ranks there are.
    fn ranks(&self) -> usize;
    /// Adds the values of all ranks, on every rank. Exact, and so independent of the order of ranks, where in each place all but
    /// one are 0, or all are whole numbers below 2⁵³.
    fn sum(&self, values: &mut [f64]);
    /// Sends `parts[r]` to rank `r`; what each rank sent to this one, in the order of ranks. What rank `r` sends here has
    /// `lengths[r]` values.
    fn swap(&self, parts: &[&[f32]], lengths: &[usize]) -> Vec<Vec<f32>>;
    /// Every rank's part on every rank, in the order of ranks; that of rank `r` has `lengths[r]` values.
    fn gather(&self, part: &[f32], lengths: &[usize]) -> Vec<Vec<f32>>;
    /// Every rank's bytes on every rank, in the order of ranks; of any lengths.
    fn tell(&self, bytes: &[u8]) -> Vec<Vec<u8>>;
    /// What a rank is called in messages, besides its number: where it runs.
    fn name(&self, rank: usize) -> String {
        format!("thread {rank}")
    }
    /// How many ranks are on the machine of this one.
    fn on_machine(&self) -> usize {
        self.ranks()
    }
    /// Sets how long to wait for other ranks, and who hears of long waits.
    fn watch(&self, _patience: Duration, _watch: Box<dyn Watch>) {}
    /// Ends the processes of all ranks with this exit code. Threads end by unwinding.
    fn end_all(&self, _code: i32) {}
}

/// Hears of a rank that waits for others. Calls are counted alike on all ranks.
pub trait Watch {
    /// It has waited for half of its patience in the call with this number.
    fn waits(&self, call: u64, what: &str);
    /// The call for which [`Watch::waits`] was called has ended.
    fn ended(&self, call: u64);
    /// Its patience is over. The run is ended after this.
    fn gives_up(&self, call: u64, what: &str, waited: Duration);
}

/// What ranks do together between the memories of their devices. Queued, not waited for, where the device has a queue.
pub trait Plane: Debug {
    /// The sum over ranks, on every rank, `[n]`; in each place all but one rank may have 0, and then it is exact.
    fn sum(&self, values: Tensor<1>) -> Tensor<1>;
    /// The sum over the ranks that are `present`, by the tree of shards: this rank's cut of it. Ranks that are not present give
    /// a vector that is not looked at.
    ///
    /// # Shapes
    /// `values`: `[n]`; `cuts`: one for each rank, one after the other, all of `0..n`.
    fn fold(&self, values: Tensor<1>, cuts: &[Range<usize>], present: &[bool]) -> Tensor<1>;
    /// The parts of all ranks, put together, `[n]`; that of rank `r` has the length of `cuts[r]`.
    fn gather(&self, part: Tensor<1>, cuts: &[Range<usize>]) -> Tensor<1>;
}

/// Another rank is lost: what a thread unwinds with that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Which rank.
    pub rank: usize,
}
