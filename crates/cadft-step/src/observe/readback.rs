//! Reading from the device. Each read makes the host wait for everything in the queue.
//!
//! With several ranks, each rank reads the values that it computed, then exchanges them with the others. All ranks make
//! the same exchanges in the same order: the outcome of the previous step with the first read, then the scores of this
//! step if its weights depend on them.

use super::{InFlight, Settled};
use crate::ranks::Ranks;
use burn::tensor::{Tensor, Transaction};

/// Reads tensors together and counts the reads. The first read also fetches the outcome of the previous step.
#[derive(Default)]
pub(crate) struct Readback {
    /// Number of reads.
    pub(crate) reads: usize,
    /// The outcome of the previous step, after it was read.
    pub(crate) settled: Option<Settled>,
    in_flight: Option<InFlight>,
    ranks: Ranks,
}

impl Readback {
    /// Starts the reads of a step; `in_flight` is the previous step, if its outcome has not been read yet.
    pub(crate) fn with(in_flight: Option<InFlight>, ranks: &Ranks) -> Self {
        Self {
            in_flight,
            ranks: ranks.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Reads the outcome of the previous step, if no other read has fetched it.
    pub(crate) fn settle(&mut self) {
        let _ = self.read(vec![]);
    }

    /// The values of vectors of f32 on one device, in one read; no read if there are none.
    ///
    /// A failed operation (out of memory, for example) fails everything that depends on it, up to the next read. A failed
    /// update therefore surfaces at the first read after a pass over its parameters: this one, or the next if only the step
    /// in flight is read.
    pub(crate) fn read(&mut self, mut vectors: Vec<Tensor<1>>) -> Vec<Vec<f32>> {
        let own = vectors.len();
        let in_flight = self.in_flight.take();
        vectors.extend(in_flight.iter().flat_map(InFlight::waiting));
        if vectors.is_empty() {
            return vec![];
        }
        self.reads += 1;
        let transaction = (vectors.into_iter()).fold(Transaction::default(), Transaction::register);
        let read = transaction.execute().into_iter();
        let mut read: Vec<Vec<f32>> = read.map(|data| data.iter().collect()).collect();
        let others = read.split_off(own);
        if let Some(in_flight) = in_flight {
            self.settled = Some(in_flight.with_read(others, &self.ranks));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn vectors_come_back_in_their_order_in_one_read() {
        let device = Device::default();
        let vectors = [vec![1.0f32, 2.0], vec![3.0]];
        let tensors = vectors
            .iter()
            .map(|values| Tensor::from_floats(values.as_slice(), &device));
        let mut readback = Readback::default();
        assert_eq!(readback.read(tensors.collect()), vectors);
        assert!(readback.read(vec![]).is_empty());
        assert_eq!(readback.reads, 1);
    }
}
