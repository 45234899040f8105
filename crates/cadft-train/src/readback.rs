//! Reading from the device, where the host waits for everything it has queued.

use burn::tensor::{Tensor, Transaction};

/// Reads tensors together and counts how often it did.
#[derive(Debug, Default)]
pub(crate) struct Readback {
    /// How often the host waited.
    pub(crate) reads: usize,
}

impl Readback {
    /// The values of vectors of f32 on one device, in one wait; none for no vectors.
    pub(crate) fn read(&mut self, vectors: Vec<Tensor<1>>) -> Vec<Vec<f32>> {
        if vectors.is_empty() {
            return vec![];
        }
        self.reads += 1;
        let transaction = (vectors.into_iter()).fold(Transaction::default(), Transaction::register);
        let read = transaction.execute().into_iter();
        read.map(|data| data.iter().collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device;

    #[test]
    fn vectors_come_back_in_their_order_in_one_read() {
        let device = device::parse(device::compiled()[0]).expect("a device");
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
