//! What a step saw: the values behind its metrics. They stay on the device until all of them are read together.

use crate::batch::MicroBatch;
use crate::clip::norm;
use crate::readback::Readback;
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

/// Log-likelihoods and gates of a micro-batch, `[tokens]` each, read from the device as late as they can be.
pub(crate) enum TokenValues {
    OnDevice(Vec<Tensor<1>>),
    Read([Vec<f32>; 2]),
}

impl TokenValues {
    /// Both are off the autodiff graph.
    pub(crate) fn new(log_probs: Tensor<1>, gates: Tensor<1>) -> Self {
        Self::OnDevice(vec![log_probs, gates])
    }

    /// Reads them now; the scores of the micro-batch's samples.
    pub(crate) fn scores(self, micro: &MicroBatch, readback: &mut Readback) -> (Self, Vec<f64>) {
        let read = match self {
            Self::OnDevice(values) => pair(readback.read(values)),
            Self::Read(read) => read,
        };
        let scores = sample_scores(&read[0], &micro.sample_of, micro.samples.len());
        (Self::Read(read), scores)
    }
}

/// Two vectors that were read.
fn pair(read: Vec<Vec<f32>>) -> [Vec<f32>; 2] {
    let mut read = read.into_iter();
    [(); 2].map(|()| read.next().unwrap_or_default())
}

/// A [`StepOutcome`] in the making.
pub(crate) struct Observation<'a> {
    weights: Vec<f64>,
    parts: Vec<Part<'a>>,
}

/// What is known of a micro-batch; `factors` go by its samples.
struct Part<'a> {
    micro: &'a MicroBatch,
    factors: Vec<f64>,
    values: TokenValues,
}

impl<'a> Observation<'a> {
    pub(crate) fn new(samples: usize) -> Self {
        Self {
            weights: vec![1.0; samples],
            parts: vec![],
        }
    }

    /// Takes in a micro-batch with the weights and the factors of its samples; the factors of its tokens, `[tokens]`.
    pub(crate) fn take(
        &mut self,
        micro: &'a MicroBatch,
        values: TokenValues,
        weights: &[f64],
        factors: Vec<f64>,
    ) -> Tensor<1> {
        for (&sample, &weight) in micro.samples.iter().zip(weights) {
            self.weights[sample] = weight;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the gradient is computed in f32")]
        let of_tokens: Vec<f32> = (micro.sample_of.iter())
            .map(|&sample| factors[sample] as f32)
            .collect();
        self.parts.push(Part {
            micro,
            factors,
            values,
        });
        let tokens = of_tokens.len();
        Tensor::from_data(
            TensorData::new(of_tokens, [tokens]),
            &micro.token_ids.device().inner(),
        )
    }

    /// The whole outcome, after one read of all that is on the device yet; `squares` are sums of squared gradients, and
    /// `standardiser` that of the weights, where one was needed.
    pub(crate) fn read(
        self,
        squares: Option<Tensor<1>>,
        standardiser: Option<Standardiser>,
        readback: &mut Readback,
    ) -> StepOutcome {
        let Self { weights, parts } = self;
        let mut waiting = vec![];
        for part in &parts {
            if let TokenValues::OnDevice(values) = &part.values {
                waiting.extend_from_slice(values);
            }
        }
        waiting.extend(squares);
        let mut read = readback.read(waiting).into_iter();
        let mut sums = Sums::new(weights.len());
        for part in parts {
            let values = match part.values {
                TokenValues::OnDevice(_) => pair(read.by_ref().take(2).collect()),
                TokenValues::Read(values) => values,
            };
            sums.add(part.micro, &part.factors, &values);
        }
        let squares = read.next().unwrap_or_default();
        let Sums {
            scores,
            loss,
            nll_sum,
            gate_sum,
        } = sums;
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
            grad_norm: norm(&squares),
        }
    }
}

/// Sums over the tokens read so far.
struct Sums {
    scores: Vec<f64>,
    loss: f64,
    nll_sum: f64,
    gate_sum: f64,
}

impl Sums {
    fn new(samples: usize) -> Self {
        Self {
            scores: vec![0.0; samples],
            loss: 0.0,
            nll_sum: 0.0,
            gate_sum: 0.0,
        }
    }

    fn add(&mut self, micro: &MicroBatch, factors: &[f64], [log_probs, gates]: &[Vec<f32>; 2]) {
        let mut loss = 0.0;
        for ((&log_prob, &gate), &sample) in log_probs.iter().zip(gates).zip(&micro.sample_of) {
            self.nll_sum -= f64::from(log_prob);
            self.gate_sum += f64::from(gate);
            loss += factors[sample] * (-f64::from(gate) * f64::from(log_prob));
        }
        self.loss += loss;
        let scores = sample_scores(log_probs, &micro.sample_of, micro.samples.len());
        for (&sample, score) in micro.samples.iter().zip(scores) {
            self.scores[sample] = score;
        }
    }
}
