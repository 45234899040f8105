//! The likelihood of targets and every objective, value and gradients, against f64 on the host.
//!
//! ```text
//! ∂ Σ_t u_t·log p_t / ∂logits_t = u_t · (onehot(y_t) − softmax(logits_t))
//! ```

use super::Bench;
use super::arrays::{drawn, tensor, values};
use super::report::{BF16, EXACT, F32, Report};
use anyhow::{Context, Result, anyhow};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use cadft_core::reduction::sample_scores;
use cadft_core::{
    AnyObjective, ChunkSize, GlobalCounts, Normalisation, Objective, Precision, Standardiser, TokenStats,
    family_loss, linear_argmax, linear_log_probs_chunked,
};

const TOKENS: usize = 24;
/// No power of two: where an allocator aligns rows, they lie apart.
const SIZE: usize = 24;
const VOCAB: usize = 97;
const SAMPLES: usize = 5;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let problem = Problem::new();
    let reference = problem.reference();
    let upstream = drawn(TOKENS, 5);
    let expected = problem.gradients(&reference, &upstream);
    let mut cases = vec![
        (TOKENS, Precision::F32, F32, "likelihood in chunks of 24"),
        (7, Precision::F32, F32, "likelihood in chunks of 7"),
    ];
    if bench.device.supports_dtype(DType::BF16) {
        cases.push((7, Precision::Bf16, BF16, "likelihood of bf16 factors"));
    }
    for (rows, precision, tolerance, name) in cases {
        let on = problem.on(&bench.device);
        let log_probs = linear_log_probs_chunked(
            on.hidden.clone(),
            on.weight.clone(),
            on.targets.clone(),
            precision,
            ChunkSize::Rows(rows),
        );
        let upstream = tensor(&upstream, [TOKENS], &bench.device.clone().autodiff());
        let [d_hidden, d_weight] = on.gradients(&(log_probs.clone() * upstream).sum())?;
        for (part, found, expected) in [
            ("value", values(log_probs), &reference.log_probs),
            ("gradient of the hidden states", d_hidden, &expected[0]),
            ("gradient of the weight", d_weight, &expected[1]),
        ] {
            report.compare(&format!("{name}: {part}"), &found, expected, tolerance)?;
        }
    }
    let on = problem.on(&bench.device);
    let ids: Vec<i64> = linear_argmax(on.hidden.inner(), on.weight.inner(), Precision::F32)
        .into_data()
        .iter()
        .collect();
    let wrong = ids
        .iter()
        .zip(&reference.likeliest)
        .filter(|(id, wanted)| **id != **wanted as i64);
    report.measured("likeliest token", wrong.count() as f64, EXACT)?;
    for name in AnyObjective::NAMES {
        objective(name, &problem, &reference, bench, report)?;
    }
    Ok(())
}

/// One objective as a step of one micro-batch computes it.
fn objective(
    name: &str,
    problem: &Problem,
    reference: &Reference,
    bench: &Bench<'_>,
    report: &mut Report,
) -> Result<()> {
    let objective = AnyObjective::from_name(name).ok_or_else(|| anyhow!("`{name}` is no objective"))?;
    let gate = |log_prob: f64| match &objective {
        AnyObjective::Nll(_) => 1.0,
        AnyObjective::Dft(_) | AnyObjective::Cadft(_) => log_prob.exp(),
        AnyObjective::Power(power) => (power.alpha * log_prob).exp(),
    };
    let factors = problem.factors(&objective, &reference.scores());
    let coefficients: Vec<f64> = (reference.log_probs.iter().zip(&factors))
        .map(|(&log_prob, factor)| -factor * gate(log_prob))
        .collect();
    let loss: f64 = (coefficients.iter().zip(&reference.log_probs))
        .map(|(coefficient, log_prob)| coefficient * log_prob)
        .sum();
    let expected = problem.gradients(reference, &coefficients);

    let on = problem.on(&bench.device);
    let log_probs = linear_log_probs_chunked(
        on.hidden.clone(),
        on.weight.clone(),
        on.targets.clone(),
        Precision::F32,
        ChunkSize::Auto,
    );
    let stats = TokenStats::detached(&log_probs);
    let gates = objective.token_gates(&stats);
    let read: Vec<f32> = stats.log_probs.into_data().iter().collect();
    let factors = problem.factors(&objective, &sample_scores(&read, &problem.sample_of(), SAMPLES));
    let found_loss = family_loss(log_probs, gates, tensor(&factors, [TOKENS], &bench.device));
    let found = on.gradients(&found_loss)?;
    report.compare(&format!("{name}: loss"), &values(found_loss), &[loss], F32)?;
    report.compare(
        &format!("{name}: gradient of the hidden states"),
        &found[0],
        &expected[0],
        F32,
    )?;
    report.compare(
        &format!("{name}: gradient of the weight"),
        &found[1],
        &expected[1],
        F32,
    )
}

/// Hidden states, an output weight and targets.
struct Problem {
    hidden: Vec<f64>,
    weight: Vec<f64>,
    targets: Vec<usize>,
}

/// What the problem's likelihoods are in f64.
struct Reference {
    log_probs: Vec<f64>,
    /// `[TOKENS, VOCAB]`.
    probabilities: Vec<Vec<f64>>,
    likeliest: Vec<usize>,
}

impl Reference {
    /// CADFT-1, sample by sample.
    fn scores(&self) -> Vec<f64> {
        let mut sums = [(0.0, 0usize); SAMPLES];
        for (token, log_prob) in self.log_probs.iter().enumerate() {
            sums[token % SAMPLES].0 -= log_prob;
            sums[token % SAMPLES].1 += 1;
        }
        sums.iter().map(|(sum, count)| sum / *count as f64).collect()
    }
}

impl Problem {
    fn new() -> Self {
        Self {
            hidden: drawn(TOKENS * SIZE, 3),
            weight: drawn(VOCAB * SIZE, 4),
            targets: (0..TOKENS).map(|token| (token * 31) % VOCAB).collect(),
        }
    }

    /// Samples lie interleaved.
    fn sample_of(&self) -> Vec<usize> {
        (0..self.targets.len()).map(|token| token % SAMPLES).collect()
    }

    /// What each token's gate is multiplied by.
    fn factors(&self, objective: &AnyObjective, scores: &[f64]) -> Vec<f64> {
        let batch: Standardiser = scores.iter().copied().collect();
        let weights = objective.sample_weights(scores, &batch);
        let counts = GlobalCounts {
            samples: SAMPLES,
            supervised: TOKENS,
        };
        let share = counts.sample_factor(Normalisation::TokenMean, 1);
        let of_tokens = self.sample_of().into_iter();
        of_tokens.map(|sample| weights[sample] * share).collect()
    }

    fn reference(&self) -> Reference {
        let mut reference = Reference {
            log_probs: vec![],
            probabilities: vec![],
            likeliest: vec![],
        };
        for (state, &target) in self.hidden.chunks(SIZE).zip(&self.targets) {
            let logits: Vec<f64> = (self.weight.chunks(SIZE))
                .map(|row| row.iter().zip(state).map(|(a, b)| a * b).sum())
                .collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = max + logits.iter().map(|logit| (logit - max).exp()).sum::<f64>().ln();
            reference.log_probs.push(logits[target] - log_sum);
            reference
                .likeliest
                .extend(logits.iter().position(|&logit| logit == max));
            let probabilities = logits.iter().map(|logit| (logit - log_sum).exp());
            reference.probabilities.push(probabilities.collect());
        }
        reference
    }

    /// Gradients of `Σ_t upstream_t · log p_t` of the hidden states and of the weight.
    fn gradients(&self, reference: &Reference, upstream: &[f64]) -> [Vec<f64>; 2] {
        let mut hidden = vec![0.0; self.hidden.len()];
        let mut weight = vec![0.0; self.weight.len()];
        for (token, (&target, &upstream)) in self.targets.iter().zip(upstream).enumerate() {
            for (id, probability) in reference.probabilities[token].iter().enumerate() {
                let logit = upstream * (f64::from(u8::from(id == target)) - probability);
                for k in 0..SIZE {
                    hidden[token * SIZE + k] += logit * self.weight[id * SIZE + k];
                    weight[id * SIZE + k] += logit * self.hidden[token * SIZE + k];
                }
            }
        }
        [hidden, weight]
    }

    fn on(&self, device: &Device) -> OnDevice {
        let device = device.clone().autodiff();
        let targets = self.targets.iter().map(|&target| target as i64).collect();
        OnDevice {
            hidden: tensor(&self.hidden, [TOKENS, SIZE], &device).require_grad(),
            weight: tensor(&self.weight, [VOCAB, SIZE], &device).require_grad(),
            targets: Tensor::from_data(TensorData::new::<i64, _>(targets, [TOKENS]), &device),
        }
    }
}

/// A [`Problem`] as leaves of a graph.
struct OnDevice {
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
}

impl OnDevice {
    fn gradients(&self, loss: &Tensor<1>) -> Result<[Vec<f64>; 2]> {
        let gradients = loss.backward();
        let of = |leaf: &Tensor<2>| leaf.grad(&gradients).map(values).context("no gradient");
        Ok([of(&self.hidden)?, of(&self.weight)?])
    }
}
