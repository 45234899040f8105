//! What a step saw: the values behind its metrics, read from the device once for each micro-batch.

use crate::batch::MicroBatch;
use burn::tensor::{Tensor, TensorData};
use cadft_core::Standardiser;
use cadft_core::reduction::sample_scores;

/// Values of a global batch, before the update.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    /// The objective's value, as normalised.
    pub loss: f64,
    /// `Σ −log p` over the supervised tokens, nats.
    pub nll_sum: f64,
    /// `Σ g` over the supervised tokens.
    pub gate_sum: f64,
    /// `c_i` of each sample, nats a token.
    pub scores: Vec<f64>,
    /// `ĉ_i` of each sample.
    pub z: Vec<f64>,
    /// `w_i` of each sample, without the data's weight.
    pub weights: Vec<f64>,
    /// What the scores were standardised with.
    pub standardiser: Standardiser,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
}

impl StepOutcome {
    /// What is not a number, if anything: nothing may be updated with it.
    #[must_use]
    pub fn not_finite(&self) -> Option<&'static str> {
        if !self.loss.is_finite() || !self.nll_sum.is_finite() {
            Some("loss")
        } else if !self.grad_norm.is_finite() {
            Some("gradient norm")
        } else {
            None
        }
    }
}

/// A [`StepOutcome`] in the making.
pub(crate) struct Observation {
    scores: Vec<f64>,
    weights: Vec<f64>,
    /// `−g·log p` of the current micro-batch.
    values: Vec<f64>,
    loss: f64,
    nll_sum: f64,
    gate_sum: f64,
}

impl Observation {
    pub(crate) fn new(samples: usize) -> Self {
        Self {
            scores: vec![0.0; samples],
            weights: vec![1.0; samples],
            values: vec![],
            loss: 0.0,
            nll_sum: 0.0,
            gate_sum: 0.0,
        }
    }

    /// Takes in the likelihoods and gates of a micro-batch, `[tokens]` each; the scores of its samples.
    pub(crate) fn scores(
        &mut self,
        micro: &MicroBatch,
        log_probs: &Tensor<1>,
        gates: &Tensor<1>,
    ) -> Vec<f64> {
        let read = Tensor::cat(vec![log_probs.clone(), gates.clone()], 0).into_data();
        let mut log_probs: Vec<f32> = read.iter().collect();
        let gates = log_probs.split_off(log_probs.len() / 2);
        self.values.clear();
        for (&log_prob, &gate) in log_probs.iter().zip(&gates) {
            self.nll_sum -= f64::from(log_prob);
            self.gate_sum += f64::from(gate);
            self.values.push(-f64::from(gate) * f64::from(log_prob));
        }
        let scores = sample_scores(&log_probs, &micro.sample_of, micro.samples.len());
        for (&sample, &score) in micro.samples.iter().zip(&scores) {
            self.scores[sample] = score;
        }
        scores
    }

    /// Takes in the weights of the micro-batch's samples; their factors spread over their tokens, `[tokens]`.
    pub(crate) fn weigh(&mut self, micro: &MicroBatch, weights: &[f64], factors: &[f64]) -> Tensor<1> {
        for (&sample, &weight) in micro.samples.iter().zip(weights) {
            self.weights[sample] = weight;
        }
        let factors: Vec<f64> = micro.sample_of.iter().map(|&sample| factors[sample]).collect();
        self.loss += factors
            .iter()
            .zip(&self.values)
            .map(|(factor, value)| factor * value)
            .sum::<f64>();
        #[expect(clippy::cast_possible_truncation, reason = "the gradient is computed in f32")]
        let factors: Vec<f32> = factors.into_iter().map(|factor| factor as f32).collect();
        let tokens = factors.len();
        Tensor::from_data(
            TensorData::new(factors, [tokens]),
            &micro.token_ids.device().inner(),
        )
    }

    /// The whole outcome; `standardiser` is that of the weights, where one was needed.
    pub(crate) fn finish(self, standardiser: Option<Standardiser>, grad_norm: f64) -> StepOutcome {
        let Self {
            scores,
            weights,
            loss,
            nll_sum,
            gate_sum,
            ..
        } = self;
        let standardiser = standardiser.unwrap_or_else(|| scores.iter().copied().collect());
        let z = scores.iter().map(|&score| standardiser.z(score)).collect();
        StepOutcome {
            loss,
            nll_sum,
            gate_sum,
            scores,
            z,
            weights,
            standardiser,
            grad_norm,
        }
    }
}
