//! Gradients of single samples under an objective, without an update.
//!
//! ```text
//! G_i = (n / normaliser_i) · ∂/∂θ Σ_t −sg[g_{i,t}]·log p_{i,t},   u_i = a_i · w_i · G_i       (PROBE-1)
//! E‖u‖² = (1/n) Σ_i ‖u_i‖²,   ū = (1/n) Σ_i u_i                                              (PROBE-2)
//! signal to noise = ‖ū‖² / (E‖u‖² − ‖ū‖²)                                                    (PROBE-3)
//! ```
//!
//! `a_i` is the `weight` of the data row, `w_i` the objective's weight of the sample. `ū` is the gradient of the loss
//! with all `n` samples as one global batch, so the statistics of scores are over all of them. The model is its own
//! reference model, as in the first step of a run: the divergence is 0 and likelihood ratios are 1.
//!
//! A sketch sums the coordinates of a gradient in random buckets, each coordinate with a random sign (a count sketch).
//! The expected inner product of two sketches is that of the gradients, with a relative deviation of about `√(2/size)`.

use crate::batch::{GlobalBatch, MicroBatching};
use crate::step::{Backward, StepSettings, backward};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use cadft_batch::Example;
use cadft_core::compatibility::effective_sample_size;
use cadft_core::reduction::median_score;
use cadft_core::{
    GlobalCounts, Normalisation, Objective, Reference, RunningMoments, SampleStats, Standardiser, Statistic,
    TokenReference, TokenStats,
};
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use std::borrow::Borrow;
use std::num::NonZeroUsize;

/// The coordinates in which gradients are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// All parameters: needs 8 bytes a parameter.
    All,
    /// A sketch: needs memory for its buckets only.
    Sketch {
        /// Number of buckets.
        size: NonZeroUsize,
        /// Seed of the buckets and signs.
        seed: u64,
    },
}

/// The gradients of the samples of one set under one objective.
#[derive(Clone, Debug)]
pub struct Probe {
    /// One entry for each sample, in order.
    pub samples: Vec<ProbedSample>,
    /// `n · ū`.
    sum: Vec<f64>,
}

/// The gradient of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbedSample {
    /// `w_i`, the objective's weight.
    pub weight: f64,
    /// `a_i`, the `weight` of the data row.
    pub data_weight: f64,
    /// `‖G_i‖²`, without weights.
    pub squared_norm: f64,
    /// The mean gate of its tokens.
    pub mean_gate: f64,
}

/// The gradients of `samples` under an objective. `scores` are the scores of the samples (CADFT-1), from
/// [`score_samples`](crate::score_samples); `model` must be on the autodiff graph.
///
/// # Panics
/// If the numbers of samples and scores differ.
#[must_use]
pub fn probe<E: Borrow<Example>>(
    model: &CausalLm,
    samples: &[E],
    scores: &[f64],
    objective: &dyn Objective,
    normalisation: Normalisation,
    coordinates: Coordinates,
) -> Probe {
    assert_eq!(samples.len(), scores.len(), "one score a sample");
    let counts = GlobalCounts::of(samples.iter().map(|sample| sample.borrow().supervised()));
    let weights = weights(objective, scores);
    let alone = Alone {
        objective,
        median_score: median_score(scores),
    };
    let frozen = model.valid();
    let mut probe = Probe {
        samples: vec![],
        sum: vec![],
    };
    for (sample, weight) in samples.iter().map(Borrow::borrow).zip(weights) {
        let share = counts.sample_factor(normalisation, sample.supervised());
        let factor = counts.samples as f64 * share;
        let Backward { gradients, outcome } = backward_of((model, &frozen), sample, &alone);
        let gradient = flat(model, &gradients);
        let squares = coordinates.add(&gradient, factor * weight * sample.weight, &mut probe.sum);
        probe.samples.push(ProbedSample {
            weight,
            data_weight: sample.weight,
            squared_norm: factor * factor * squares,
            mean_gate: outcome.gate_sum / sample.supervised() as f64,
        });
    }
    probe
}

impl ProbedSample {
    /// `‖u_i‖²`.
    #[must_use]
    pub fn weighted(&self) -> f64 {
        (self.data_weight * self.weight).powi(2) * self.squared_norm
    }
}

impl Probe {
    /// `E‖u‖²`.
    #[must_use]
    pub fn second_moment(&self) -> f64 {
        self.mean_of(ProbedSample::weighted)
    }

    /// `E‖G‖²`: the second moment if every weight were 1.
    #[must_use]
    pub fn unweighted_second_moment(&self) -> f64 {
        self.mean_of(|sample| sample.squared_norm)
    }

    /// `‖ū‖`.
    #[must_use]
    pub fn mean_norm(&self) -> f64 {
        dot(&self.sum, &self.sum).sqrt() / self.samples.len() as f64
    }

    /// PROBE-3; infinite if all samples have the same gradient.
    #[must_use]
    pub fn signal_to_noise(&self) -> f64 {
        let signal = self.mean_norm().powi(2);
        signal / (self.second_moment() - signal).max(0.0)
    }

    /// `(Σw)²/Σw²` of the objective's weights.
    #[must_use]
    pub fn effective_sample_size(&self) -> f64 {
        let weights: Vec<f64> = self.samples.iter().map(|sample| sample.weight).collect();
        effective_sample_size(&weights)
    }

    /// The cosine of the angle between `ū` and that of another set, with the same model and coordinates; NaN if one of
    /// them is 0.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f64 {
        let lengths = dot(&self.sum, &self.sum).sqrt() * dot(&other.sum, &other.sum).sqrt();
        dot(&self.sum, &other.sum) / lengths
    }

    fn mean_of(&self, value: impl Fn(&ProbedSample) -> f64) -> f64 {
        self.samples.iter().map(value).sum::<f64>() / self.samples.len() as f64
    }
}

/// The objective's weights, computed as in a step.
fn weights(objective: &dyn Objective, scores: &[f64]) -> Vec<f64> {
    if objective.compatibility().is_none() && objective.reference() != Some(Reference::Scores) {
        return vec![1.0; scores.len()];
    }
    objective.sample_weights(&SampleStats {
        scores,
        batch: &scores.iter().copied().collect::<Standardiser>(),
        reference: Some(scores),
    })
}

/// `∂/∂θ Σ_t −sg[g_t]·log p_t` of one sample.
fn backward_of(
    (model, frozen): (&CausalLm, &CausalLm),
    sample: &Example,
    objective: &dyn Objective,
) -> Backward {
    let sample = Example {
        weight: 1.0,
        ..sample.clone()
    };
    let batch = GlobalBatch::new(&[&sample], &MicroBatching::rows(1), &model.device());
    let batch = batch.compared_with(frozen, &[&sample], objective);
    let settings = StepSettings {
        objective,
        reference: None,
        normalisation: Normalisation::SampleSum,
        lr: 0.0,
        clip: f64::INFINITY,
    };
    backward(model, &batch, &settings, &RunningMoments::new(0.0))
}

/// The gradients of all parameters, concatenated.
fn flat(model: &CausalLm, gradients: &ParamGradients) -> Vec<f32> {
    let mut flat = Flat {
        gradients,
        values: vec![],
    };
    model.visit(&mut flat);
    flat.values
}

/// Collects the gradients of all parameters into one vector; a missing gradient is 0.
struct Flat<'a> {
    gradients: &'a ParamGradients,
    values: Vec<f32>,
}

impl ModuleVisitor for Flat<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.gradients.get::<D>(param.id) {
            Some(gradient) => self.values.extend(gradient.into_data().iter::<f32>()),
            None => self
                .values
                .extend(std::iter::repeat_n(0.0, param.val().shape().num_elements())),
        }
    }
}

/// The token gates of an objective under a fixed median score, without its sample weights.
#[derive(Debug)]
struct Alone<'a> {
    objective: &'a dyn Objective,
    median_score: f64,
}

impl Objective for Alone<'_> {
    fn name(&self) -> &str {
        self.objective.name()
    }

    fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
        self.objective.token_gates(&TokenStats {
            median_score: Some(self.median_score),
            // The model is its own reference: all tokens have the same excess, and all are chosen.
            least_excess: Some(f32::NEG_INFINITY),
            ..stats.clone()
        })
    }

    fn statistic(&self) -> Option<Statistic> {
        self.objective.statistic()
    }

    fn token_reference(&self) -> Option<TokenReference> {
        self.objective.token_reference()
    }
}

impl Coordinates {
    /// Adds `factor` times a gradient to a sum, and returns its squared norm.
    fn add(self, gradient: &[f32], factor: f64, sum: &mut Vec<f64>) -> f64 {
        match self {
            Self::All => add(gradient.iter().copied().map(f64::from), factor, sum),
            Self::Sketch { size, seed } => {
                let mut sketch = vec![0.0; size.get()];
                for (index, &value) in gradient.iter().enumerate() {
                    let drawn = mixed(seed, index as u64);
                    let bucket = (drawn >> 1) % size.get() as u64;
                    let sign = if drawn & 1 == 0 { 1.0 } else { -1.0 };
                    sketch[bucket as usize] += sign * f64::from(value);
                }
                add(sketch, factor, sum)
            }
        }
    }
}

fn add(
    values: impl IntoIterator<Item = f64, IntoIter: ExactSizeIterator>,
    factor: f64,
    sum: &mut Vec<f64>,
) -> f64 {
    let values = values.into_iter();
    sum.resize(values.len(), 0.0);
    let mut squares = 0.0;
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
        squares += value * value;
    }
    squares
}

/// A pseudorandom function of `seed` and `index` (SplitMix64).
fn mixed(seed: u64, index: u64) -> u64 {
    let mut z = (index.wrapping_add(1))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(seed.wrapping_mul(0xD134_2543_DE82_EF95));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_sketches_are_near_those_of_the_vectors() {
        let drawn = |salt: u64| -> Vec<f32> {
            (0..20_000)
                .map(|index| (mixed(salt, index) % 2001) as f32 / 1000.0 - 1.0)
                .collect()
        };
        let (a, noise) = (drawn(1), drawn(2));
        let b: Vec<f32> = a.iter().zip(&noise).map(|(a, noise)| a + 0.5 * noise).collect();
        let products = |coordinates: Coordinates| {
            let sums = [&a, &b].map(|vector| {
                let mut sum = vec![];
                coordinates.add(vector, 1.0, &mut sum);
                sum
            });
            [
                dot(&sums[0], &sums[0]),
                dot(&sums[0], &sums[1]),
                dot(&sums[1], &sums[1]),
            ]
        };
        let exact = products(Coordinates::All);
        for seed in 0..5 {
            let size = NonZeroUsize::new(8192).expect("not 0");
            for (found, exact) in products(Coordinates::Sketch { size, seed }).iter().zip(&exact) {
                assert!(
                    (found / exact - 1.0).abs() < 0.05,
                    "seed {seed}: {found}, {exact}"
                );
            }
        }
    }
}
