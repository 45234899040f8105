//! What ranks tell each other of a step: sums of each shard; scores, weights and gates of each sample.

use super::OfTokens;
use crate::ranks::Ranks;

/// Values of a global batch. A rank knows those of its own shards and samples; the others are 0.
pub(super) struct Told {
    pub(super) shards: Vec<Sums>,
    pub(super) scores: Vec<f64>,
    pub(super) weights: Vec<f64>,
    /// The mean gate of its tokens.
    pub(super) gates: Vec<f64>,
}

impl Told {
    pub(super) fn new(shards: usize, samples: usize) -> Self {
        Self {
            shards: vec![Sums::default(); shards],
            scores: vec![0.0; samples],
            weights: vec![0.0; samples],
            gates: vec![0.0; samples],
        }
    }

    /// Fills in the values of the other ranks.
    pub(super) fn by_all(self, ranks: &Ranks) -> Self {
        let samples = self.scores.len();
        let sums = self.shards.iter().flat_map(Sums::values);
        let of_samples = self.scores.into_iter().chain(self.weights).chain(self.gates);
        let mut values: Vec<f64> = sums.chain(of_samples).collect();
        ranks.complete(&mut values);
        let gates = values.split_off(values.len() - samples);
        let weights = values.split_off(values.len() - samples);
        let scores = values.split_off(values.len() - samples);
        let (sums, _) = values.as_chunks();
        Self {
            shards: sums.iter().copied().map(Sums::from_values).collect(),
            scores,
            weights,
            gates,
        }
    }
}

/// Sums over the tokens of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) loss: f64,
    pub(super) nll: f64,
    pub(super) gate: f64,
    pub(super) divergence: f64,
    /// Number of micro-batches that have a divergence.
    pub(super) diverging: f64,
}

impl Sums {
    /// Adds a micro-batch, given the sample of each token and the factor of each sample.
    pub(super) fn add(
        &mut self,
        sample_of: &[usize],
        factors: &[f64],
        strength: f64,
        values: &OfTokens<Vec<f32>>,
    ) {
        let OfTokens {
            log_probs,
            gates,
            divergence,
            ..
        } = values;
        let mut loss = 0.0;
        for ((&log_prob, &gate), &sample) in log_probs.iter().zip(gates).zip(sample_of) {
            self.nll -= f64::from(log_prob);
            self.gate += f64::from(gate);
            loss += factors[sample] * (-f64::from(gate) * f64::from(log_prob));
        }
        if let Some(divergence) = divergence {
            self.diverging += 1.0;
            for (&divergence, &sample) in divergence.iter().zip(sample_of) {
                self.divergence += f64::from(divergence);
                loss += factors[sample] * strength * f64::from(divergence);
            }
        }
        self.loss += loss;
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let (left, right) = (self.values(), other.values());
        Self::from_values(std::array::from_fn(|place| left[place] + right[place]))
    }

    fn values(&self) -> [f64; 5] {
        [self.loss, self.nll, self.gate, self.divergence, self.diverging]
    }

    fn from_values([loss, nll, gate, divergence, diverging]: [f64; 5]) -> Self {
        Self {
            loss,
            nll,
            gate,
            divergence,
            diverging,
        }
    }
}
