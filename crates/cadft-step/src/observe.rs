//! The values behind the metrics of a step. They stay on the device, and are read together with the first read of the
//! next step.

mod readback;
mod told;

use crate::batch::{GlobalBatch, MicroBatch};
use crate::clip::norm;
use crate::ranks::Ranks;
use burn::tensor::{Tensor, TensorData};
use cadft_core::reduction::{sample_means, sample_scores};
use cadft_core::{RunningMoments, Standardiser};
use std::time::Instant;

pub(crate) use readback::Readback;
use told::{Sums, Told};

/// Values of a global batch, before the update.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    /// The loss, after normalisation.
    pub loss: f64,
    /// `Σ −log p` over the supervised tokens, nats.
    pub nll_sum: f64,
    /// `Σ g` over the supervised tokens.
    pub gate_sum: f64,
    /// `Σ KL(reference‖model)` over the supervised tokens, nats, if the objective adds it to the loss.
    pub divergence_sum: Option<f64>,
    /// `c_i` of each sample, nats a token.
    pub scores: Vec<f64>,
    /// `ĉ_i` of each sample.
    pub z: Vec<f64>,
    /// `w_i` of each sample, without the data's weight.
    pub weights: Vec<f64>,
    /// The mean gate of each sample's tokens.
    pub gates: Vec<f64>,
    /// The statistics that standardised the scores.
    pub standardiser: Standardiser,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The clipping factor; negative if the device skipped the update.
    pub clip_factor: f64,
}

/// A finished step.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// Its outcome.
    pub outcome: StepOutcome,
    /// When the host read the outcome.
    pub at: Instant,
}

impl StepOutcome {
    /// The name of the value that is not finite, if any. The update was then skipped.
    #[must_use]
    pub fn not_finite(&self) -> Option<&'static str> {
        if self.clip_factor >= 0.0 {
            None
        } else if self.loss.is_finite() && self.nll_sum.is_finite() {
            Some("gradient norm")
        } else {
            Some("loss")
        }
    }

    /// Adds the scores to the running statistics, unless the update was skipped.
    pub(crate) fn add_to(&self, running: &mut RunningMoments) {
        if self.not_finite().is_none() {
            running.update(&self.scores.iter().copied().collect());
        }
    }
}

/// Values of the tokens of a micro-batch, `[tokens]` each.
pub(crate) struct OfTokens<T> {
    pub(crate) log_probs: T,
    pub(crate) gates: T,
    /// Log-likelihoods under the reference model, if the objective's weights depend on them.
    pub(crate) reference: Option<T>,
    /// Divergence from the reference model, if the objective adds it to the loss.
    pub(crate) divergence: Option<T>,
}

impl<T> OfTokens<T> {
    /// All fields that are present, in the order of [`OfTokens::with`].
    fn all(&self) -> impl Iterator<Item = &T> {
        ([&self.log_probs, &self.gates].into_iter())
            .chain(&self.reference)
            .chain(&self.divergence)
    }

    /// The same fields, filled with `values` in order.
    fn with<U: Default>(&self, values: &mut impl Iterator<Item = U>) -> OfTokens<U> {
        let mut next = || values.next().unwrap_or_default();
        OfTokens {
            log_probs: next(),
            gates: next(),
            reference: self.reference.as_ref().map(|_| next()),
            divergence: self.divergence.as_ref().map(|_| next()),
        }
    }
}

/// Values of a micro-batch. They are read from the device as late as possible.
pub(crate) enum TokenValues {
    /// Without gradient.
    OnDevice(Box<OfTokens<Tensor<1>>>),
    Read(OfTokens<Vec<f32>>),
}

impl TokenValues {
    /// Reads the values now. Returns the scores of the micro-batch's samples under the model, and under the reference model
    /// if its likelihoods are present.
    pub(crate) fn scores(
        self,
        micro: &MicroBatch,
        readback: &mut Readback,
    ) -> (Self, Vec<f64>, Option<Vec<f64>>) {
        let read = match self {
            Self::OnDevice(values) => {
                let read = readback.read(values.all().cloned().collect());
                values.with(&mut read.into_iter())
            }
            Self::Read(read) => read,
        };
        let scores = |log_probs| sample_scores(log_probs, &micro.sample_of, micro.samples.len());
        let (own, reference) = (scores(&read.log_probs), read.reference.as_deref().map(scores));
        (Self::Read(read), own, reference)
    }
}

/// Collects the values of a step while its micro-batches are queued.
pub(crate) struct Observation {
    samples: usize,
    shards: usize,
    /// The first shard of this rank.
    first: usize,
    /// The factor of the divergence in the loss.
    strength: f64,
    parts: Vec<Part>,
}

/// The values of a micro-batch; `weights` and `factors` are `[samples]`.
struct Part {
    /// The number of the shard among those of all ranks.
    shard: usize,
    sample_of: Vec<usize>,
    samples: Vec<usize>,
    weights: Vec<f64>,
    factors: Vec<f64>,
    values: TokenValues,
}

impl Observation {
    /// The observation of a global batch; `strength` is the factor of the divergence in the loss.
    pub(crate) fn new(batch: &GlobalBatch, ranks: &Ranks, strength: f64) -> Self {
        Self {
            samples: batch.ids.len(),
            shards: batch.shares.shards,
            first: ranks.own_shards().start,
            strength,
            parts: vec![],
        }
    }

    /// Adds a micro-batch with the weights and factors of its samples, `[samples]`. Returns the factors of its tokens,
    /// `[tokens]`.
    pub(crate) fn take(
        &mut self,
        micro: &MicroBatch,
        values: TokenValues,
        weights: Vec<f64>,
        factors: Vec<f64>,
    ) -> Tensor<1> {
        #[expect(clippy::cast_possible_truncation, reason = "the gradient is computed in f32")]
        let of_tokens: Vec<f32> = (micro.sample_of.iter())
            .map(|&sample| factors[sample] as f32)
            .collect();
        self.parts.push(Part {
            shard: self.first + micro.shard,
            sample_of: micro.sample_of.clone(),
            samples: micro.samples.clone(),
            weights,
            factors,
            values,
        });
        let tokens = of_tokens.len();
        Tensor::from_data(
            TensorData::new(of_tokens, [tokens]),
            &micro.token_ids.device().inner(),
        )
    }

    /// Adds the remaining values: sums of squared gradients `[parameters]`, the clipping factor `[1]`, and the
    /// statistics of the weights, if there are any.
    pub(crate) fn in_flight(
        self,
        squares: Tensor<1>,
        factor: Tensor<1>,
        standardiser: Option<Standardiser>,
    ) -> InFlight {
        InFlight {
            seen: self,
            squares,
            factor,
            standardiser,
        }
    }
}

/// The values of a whole step; some are still on the device.
pub(crate) struct InFlight {
    seen: Observation,
    squares: Tensor<1>,
    /// The clipping factor, `[1]`.
    pub(crate) factor: Tensor<1>,
    standardiser: Option<Standardiser>,
}

impl InFlight {
    /// Reads the values, with a separate read.
    pub(crate) fn settle(self, ranks: &Ranks) -> Settled {
        let read = Readback::default().read(self.waiting());
        self.with_read(read, ranks)
    }

    /// The vectors that have not been read yet.
    pub(crate) fn waiting(&self) -> Vec<Tensor<1>> {
        let mut waiting = vec![self.squares.clone(), self.factor.clone()];
        for part in &self.seen.parts {
            if let TokenValues::OnDevice(values) = &part.values {
                waiting.extend(values.all().cloned());
            }
        }
        waiting
    }

    /// The outcome, from the values of [`InFlight::waiting`] that were just read, and from those of the other ranks.
    pub(crate) fn with_read(self, read: Vec<Vec<f32>>, ranks: &Ranks) -> Settled {
        let at = Instant::now();
        let Observation {
            samples,
            shards,
            strength,
            parts,
            ..
        } = self.seen;
        let mut read = read.into_iter();
        let [squares, factor] = [(); 2].map(|()| read.next().unwrap_or_default());
        let mut told = Told::new(shards, samples);
        for part in parts {
            let values = match part.values {
                TokenValues::OnDevice(values) => values.with(&mut read),
                TokenValues::Read(values) => values,
            };
            told.shards[part.shard].add(&part.sample_of, &part.factors, strength, &values);
            let scores = sample_scores(&values.log_probs, &part.sample_of, part.samples.len());
            let gates = sample_means(&values.gates, &part.sample_of, part.samples.len());
            let weighed = part.samples.iter().zip(scores).zip(part.weights).zip(gates);
            for (((&sample, score), weight), gate) in weighed {
                (told.scores[sample], told.weights[sample], told.gates[sample]) = (score, weight, gate);
            }
        }
        let Told {
            shards,
            scores,
            weights,
            gates,
        } = told.by_all(ranks);
        let sums = shards.into_iter().reduce(Sums::plus).unwrap_or_default();
        let standardiser = (self.standardiser).unwrap_or_else(|| scores.iter().copied().collect());
        let z = scores.iter().map(|&score| standardiser.z(score)).collect();
        let outcome = StepOutcome {
            loss: sums.loss,
            nll_sum: sums.nll,
            gate_sum: sums.gate,
            divergence_sum: (sums.diverging > 0.0).then_some(sums.divergence),
            scores,
            z,
            weights,
            gates,
            standardiser,
            grad_norm: norm(&squares),
            clip_factor: factor.first().copied().map_or(f64::NAN, f64::from),
        };
        Settled { outcome, at }
    }
}
