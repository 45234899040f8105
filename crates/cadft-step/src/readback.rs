//! Reading from the device, where the host waits for everything it has queued.

use crate::observe::{InFlight, Settled};
use burn::tensor::{Tensor, Transaction};

/// Reads tensors together and counts how often it did. The first read brings along how the step before ended.
#[derive(Default)]
pub(crate) struct Readback {
    /// How often the host waited.
    pub(crate) reads: usize,
    /// How the step before ended, once that was read.
    pub(crate) settled: Option<Settled>,
    in_flight: Option<InFlight>,
}

impl Readback {
    /// The reads of a step after another one, which may be in flight.
    pub(crate) fn with(in_flight: Option<InFlight>) -> Self {
        Self {
            in_flight,
            ..Self::default()
        }
    }

    /// Reads how the step before ended, where nothing else has to be read now.
    pub(crate) fn settle(&mut self) {
        let _ = self.read(vec![]);
    }

    /// The values of vectors of f32 on one device, in one wait; none for no vectors.
    ///
    /// An operation that failed, for want of memory say, fails what depends on it, and in the end a read. One of an update is
    /// met by the first read after a pass with its parameters: this one, or, where only the step in flight is read, the next.
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
            self.settled = Some(in_flight.with_read(others));
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
