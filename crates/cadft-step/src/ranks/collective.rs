//! The collective operations of ranks, on the host and on devices.

use burn::tensor::Tensor;
use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

/// Collective operations through host memory.
///
/// All ranks call the same methods in the same order and with the same sizes. No method returns an error: if a rank is
/// lost, the process ends, or the thread unwinds with [`Lost`].
pub trait Collective: Debug {
    /// The number of this rank, counted from 0.
    fn rank(&self) -> usize;
    /// The number of ranks.
    fn ranks(&self) -> usize;
    /// Adds the values of all ranks; every rank gets the sum. The sum is exact, and independent of the order of ranks,
    /// if at each place at most one rank has a nonzero value, or if all values are whole numbers below 2⁵³.
    fn sum(&self, values: &mut [f64]);
    /// Sends `parts[r]` to rank `r`. Returns what each rank sent to this one, in the order of ranks; rank `r` sends
    /// `lengths[r]` values.
    fn swap(&self, parts: &[&[f32]], lengths: &[usize]) -> Vec<Vec<f32>>;
    /// The parts of all ranks, on every rank, in the order of ranks. The part of rank `r` has `lengths[r]` values.
    fn gather(&self, part: &[f32], lengths: &[usize]) -> Vec<Vec<f32>>;
    /// The bytes of all ranks, on every rank, in the order of ranks. Lengths may differ.
    fn tell(&self, bytes: &[u8]) -> Vec<Vec<u8>>;
    /// The name of a rank in messages, besides its number: where it runs.
    fn name(&self, rank: usize) -> String {
        format!("thread {rank}")
    }
    /// The number of ranks on the machine of this rank.
    fn on_machine(&self) -> usize {
        self.ranks()
    }
    /// Which of the ranks on its machine this one is, counted from 0.
    fn place_on_machine(&self) -> usize {
        self.rank()
    }
    /// Sets how long to wait for other ranks, and who is notified of long waits.
    fn watch(&self, _patience: Duration, _watch: Box<dyn Watch>) {}
    /// Ends the processes of all ranks with this exit code. Does nothing for threads, which end by unwinding.
    fn end_all(&self, _code: i32) {}
}

/// Is notified when a rank waits long for others. All ranks number their calls alike.
pub trait Watch {
    /// The rank has waited for half of its patience in call number `call`.
    fn waits(&self, call: u64, what: &str);
    /// Call number `call`, for which [`Watch::waits`] was called, has ended.
    fn ended(&self, call: u64);
    /// The patience of the rank is over. The run ends after this notification.
    fn gives_up(&self, call: u64, what: &str, waited: Duration);
}

/// Collective operations between the memories of devices. If the device has a queue, they are queued and not waited
/// for.
pub trait Plane: Debug {
    /// The sum over ranks, on every rank, `[n]`. It is exact if at each place at most one rank has a nonzero value.
    fn sum(&self, values: Tensor<1>) -> Tensor<1>;
    /// This rank's cut of the sum over the ranks that are `present`, by the tree of shards. Ranks that are not present
    /// pass a vector whose values are ignored.
    ///
    /// # Shapes
    /// `values`: `[n]`; `cuts`: consecutive ranges that cover `0..n`, one for each rank.
    fn fold(&self, values: Tensor<1>, cuts: &[Range<usize>], present: &[bool]) -> Tensor<1>;
    /// The parts of all ranks, concatenated, `[n]`. The part of rank `r` has the length of `cuts[r]`.
    fn gather(&self, part: Tensor<1>, cuts: &[Range<usize>]) -> Tensor<1>;
}

/// The panic payload of a thread that waits for a rank which is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The lost rank.
    pub rank: usize,
}
