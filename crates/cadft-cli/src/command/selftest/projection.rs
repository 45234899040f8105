//! The likelihood of targets and every objective, value and gradients, against f64 on the host.
//!
//! ```text
//! ∂ Σ_t u_t·log p_t / ∂logits_t = u_t · (onehot(y_t) − softmax(logits_t))
//! ```

use super::Bench;
use super::arrays::{drawn, tensor, values};
use super::gates::{Token, gate};
use super::report::Report;
use crate::tolerance::{BF16_FOR_F32, EXACT, F32};
use anyhow::{Context, Result, anyhow};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use cadft_core::reduction::{median_score, sample_scores};
use cadft_core::{
    AnyObjective, ChunkSize, GlobalCounts, Normalisation, Objective, Precision, Reference, SampleStats,
    Standardiser, TokenReference, TokenStats, anchor_loss, family_loss, linear_argmax, linear_divergence,
    linear_log_probs_chunked, linear_mass_below, linear_statistic,
};

const TOKENS: usize = 24;
/// Not a power of two: an allocator that aligns rows leaves gaps between them.
const SIZE: usize = 24;
const VOCAB: usize = 97;
const SAMPLES: usize = 5;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let problem = Problem::new([3, 4]);
    let exact = problem.exact();
    let upstream = drawn(TOKENS, 5);
    let mut logits = vec![vec![0.0; VOCAB]; TOKENS];
    problem.add_upstream(&exact, &upstream, &mut logits);
    let expected = problem.gradients(&logits);
    let mut cases = vec![
        (TOKENS, Precision::F32, F32, "likelihood in chunks of 24"),
        (7, Precision::F32, F32, "likelihood in chunks of 7"),
    ];
    if bench.device.supports_dtype(DType::BF16) {
        cases.push((7, Precision::Bf16, BF16_FOR_F32, "likelihood of bf16 factors"));
    }
    for (rows, precision, tolerance, name) in cases {
        let on = problem.on(&bench.device);
        let log_probs = on.log_probs(precision, ChunkSize::Rows(rows));
        let upstream = tensor(&upstream, [TOKENS], &bench.device.clone().autodiff());
        let [d_hidden, d_weight] = on.gradients(&(log_probs.clone() * upstream).sum())?;
        for (part, found, expected) in [
            ("value", values(log_probs), &exact.log_probs),
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
        .zip(&exact.likeliest)
        .filter(|(id, wanted)| **id != **wanted as i64);
    report.measured("likeliest token", wrong.count() as f64, EXACT)?;
    let before = Problem::new([6, 7]);
    let exact_before = before.exact();
    for name in AnyObjective::NAMES {
        objective(name, [&problem, &before], [&exact, &exact_before], bench, report)?;
    }
    Ok(())
}

/// Compares one objective, computed as a step with one micro-batch does; `before` is the reference model.
fn objective(
    name: &str,
    [problem, before]: [&Problem; 2],
    [exact, exact_before]: [&Exact; 2],
    bench: &Bench<'_>,
    report: &mut Report,
) -> Result<()> {
    let objective = AnyObjective::from_name(name).ok_or_else(|| anyhow!("`{name}` is no objective"))?;
    let strength = match objective.reference() {
        Some(Reference::Anchor { strength }) => strength,
        _ => 0.0,
    };
    let factors = problem.factors(&objective, [&exact.scores(), &exact_before.scores()]);
    let tokens = tokens(problem, [exact, exact_before], &objective);
    let (mut loss, mut coefficients) = (0.0, vec![]);
    let mut logits = vec![vec![0.0; VOCAB]; TOKENS];
    for (token, &factor) in factors.iter().enumerate() {
        let (p, q) = (&exact.probabilities[token], &exact_before.probabilities[token]);
        let coefficient = -factor * gate(&objective, &tokens[token]);
        loss += coefficient * exact.log_probs[token];
        coefficients.push(coefficient);
        for ((logit, p), q) in logits[token].iter_mut().zip(p).zip(q) {
            loss += factor * strength * q * (q / p).ln();
            *logit = factor * strength * (p - q);
        }
    }
    problem.add_upstream(exact, &coefficients, &mut logits);
    let expected = problem.gradients(&logits);

    let (on, on_before) = (problem.on(&bench.device), before.on(&bench.device));
    let log_probs = on.log_probs(Precision::F32, ChunkSize::Auto);
    let statistic = (objective.statistic()).map(|statistic| {
        let (hidden, weight) = (on.hidden.clone().inner(), on.weight.clone().inner());
        linear_statistic(hidden, weight, statistic, Precision::F32)
    });
    let reference = (objective.token_reference()).map(|wanted| on_before.frozen(wanted));
    let stats = TokenStats {
        statistic,
        median_score: Some(tokens[0].median),
        reference,
        least_excess: Some(tokens[0].least_excess),
        ..TokenStats::detached(&log_probs)
    };
    let gates = objective.token_gates(&stats);
    let scores = |log_probs: Tensor<1>| {
        let read: Vec<f32> = log_probs.into_data().iter().collect();
        sample_scores(&read, &problem.sample_of(), SAMPLES)
    };
    let scores = [
        scores(stats.log_probs),
        scores(on_before.log_probs(Precision::F32, ChunkSize::Auto)),
    ];
    let factors = problem.factors(&objective, scores.each_ref().map(Vec::as_slice));
    let factors = tensor(&factors, [TOKENS], &bench.device);
    let mut found_loss = family_loss(log_probs, gates, factors.clone());
    if strength > 0.0 {
        let divergence = linear_divergence(
            [on.hidden.clone(), on.weight.clone()],
            [on_before.hidden, on_before.weight],
            Precision::F32,
            ChunkSize::Rows(7),
        );
        found_loss = found_loss + anchor_loss(divergence, strength, factors);
    }
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

/// Every target with what a gate may look at.
fn tokens<'a>(
    problem: &'a Problem,
    [exact, before]: [&'a Exact; 2],
    objective: &AnyObjective,
) -> Vec<Token<'a>> {
    let median = median_score(&exact.scores());
    let token = |token: usize| Token {
        log_prob: exact.log_probs[token],
        target: problem.targets[token],
        probabilities: &exact.probabilities[token],
        before: &before.probabilities[token],
        median,
        least_excess: 0.0,
    };
    let tokens: Vec<Token<'a>> = (0..TOKENS).map(token).collect();
    let excess = tokens.iter().map(Token::excess).collect();
    #[expect(clippy::cast_possible_truncation, reason = "as in training")]
    let least_excess = between_chosen_and_others(excess, objective.top_excess()) as f32;
    let with_excess = |token: Token<'a>| Token {
        least_excess,
        ..token
    };
    tokens.into_iter().map(with_excess).collect()
}

/// An excess loss in the middle between the least of those that are chosen and the largest other one, so that rounding chooses none.
fn between_chosen_and_others(mut excess: Vec<f64>, top: Option<f64>) -> f64 {
    excess.sort_by(|a, b| b.total_cmp(a));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of tokens"
    )]
    let chosen = (top.unwrap_or(1.0) * excess.len() as f64).ceil() as usize;
    match excess.get(chosen) {
        Some(other) => (excess[chosen - 1] + other) / 2.0,
        None => f64::NEG_INFINITY,
    }
}

/// Hidden states, an output weight and targets.
struct Problem {
    hidden: Vec<f64>,
    weight: Vec<f64>,
    targets: Vec<usize>,
}

/// The likelihoods of a problem in f64.
struct Exact {
    log_probs: Vec<f64>,
    /// `[TOKENS, VOCAB]`.
    probabilities: Vec<Vec<f64>>,
    likeliest: Vec<usize>,
}

impl Exact {
    /// CADFT-1 of each sample.
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
    fn new([hidden, weight]: [u64; 2]) -> Self {
        Self {
            hidden: drawn(TOKENS * SIZE, hidden),
            weight: drawn(VOCAB * SIZE, weight),
            targets: (0..TOKENS).map(|token| (token * 31) % VOCAB).collect(),
        }
    }

    /// The sample of each token; the tokens of samples are interleaved.
    fn sample_of(&self) -> Vec<usize> {
        (0..self.targets.len()).map(|token| token % SAMPLES).collect()
    }

    /// The factor of each token's gate, given the scores under the model and under the reference model.
    fn factors(&self, objective: &AnyObjective, [scores, before]: [&[f64]; 2]) -> Vec<f64> {
        let weights = objective.sample_weights(&SampleStats {
            scores,
            batch: &scores.iter().copied().collect::<Standardiser>(),
            reference: Some(before),
        });
        let counts = GlobalCounts {
            samples: SAMPLES,
            supervised: TOKENS,
        };
        let share = counts.sample_factor(Normalisation::TokenMean, 1);
        let of_tokens = self.sample_of().into_iter();
        of_tokens.map(|sample| weights[sample] * share).collect()
    }

    fn exact(&self) -> Exact {
        let mut exact = Exact {
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
            exact.log_probs.push(logits[target] - log_sum);
            exact
                .likeliest
                .extend(logits.iter().position(|&logit| logit == max));
            let probabilities = logits.iter().map(|logit| (logit - log_sum).exp());
            exact.probabilities.push(probabilities.collect());
        }
        exact
    }

    /// Adds the gradient of `Σ_t upstream_t · log p_t` with respect to the logits.
    fn add_upstream(&self, exact: &Exact, upstream: &[f64], logits: &mut [Vec<f64>]) {
        for (token, (&target, &upstream)) in self.targets.iter().zip(upstream).enumerate() {
            for (id, probability) in exact.probabilities[token].iter().enumerate() {
                logits[token][id] += upstream * (f64::from(u8::from(id == target)) - probability);
            }
        }
    }

    /// Gradients of the hidden states and of the weight, given the gradients of the logits.
    fn gradients(&self, logits: &[Vec<f64>]) -> [Vec<f64>; 2] {
        let mut hidden = vec![0.0; self.hidden.len()];
        let mut weight = vec![0.0; self.weight.len()];
        for (token, logits) in logits.iter().enumerate() {
            for (id, logit) in logits.iter().enumerate() {
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
    fn log_probs(&self, precision: Precision, chunk: ChunkSize) -> Tensor<1> {
        let (hidden, weight) = (self.hidden.clone(), self.weight.clone());
        linear_log_probs_chunked(hidden, weight, self.targets.clone(), precision, chunk)
    }

    /// What it says of the targets as a frozen model.
    fn frozen(&self, wanted: TokenReference) -> Tensor<1> {
        match wanted {
            TokenReference::LogProb | TokenReference::Renewed { .. } => {
                self.log_probs(Precision::F32, ChunkSize::Auto).inner()
            }
            TokenReference::MassBelow => {
                let (hidden, weight) = (self.hidden.clone().inner(), self.weight.clone().inner());
                linear_mass_below(hidden, weight, self.targets.clone().inner(), Precision::F32)
            }
        }
    }

    fn gradients(&self, loss: &Tensor<1>) -> Result<[Vec<f64>; 2]> {
        let gradients = loss.backward();
        let of = |leaf: &Tensor<2>| leaf.grad(&gradients).map(values).context("no gradient");
        Ok([of(&self.hidden)?, of(&self.weight)?])
    }
}
