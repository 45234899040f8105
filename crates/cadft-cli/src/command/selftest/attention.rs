//! Causal grouped-query attention with rotation, windows and packed rows, value and gradients, against f64 on the host.
//!
//! ```text
//! S = scale · R(Q) R(K)ᵀ    P = softmax(S)    O = P V
//! dV = Pᵀ dO    dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O))    dQ = scale · Rᵀ(dS R(K))    dK = scale · Rᵀ(dSᵀ R(Q))
//! ```

use super::Bench;
use super::arrays::{drawn, tensor, values};
use super::report::{F32, Report};
use anyhow::{Context, Result};
use cadft_model::fused::{AttentionInput, AttentionOptions, Rotation, causal_attention};
use std::sync::Arc;

const BATCH: usize = 2;
const SEQ: usize = 13;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const DIM: usize = 8;
const PAIRS: usize = DIM / 2;
const SCALE: f64 = 0.35;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    // The second row holds samples of five and eight tokens.
    let starts: Vec<usize> = (0..BATCH * SEQ)
        .map(|at| if at >= SEQ + 5 { 5 } else { 0 })
        .collect();
    for (name, window, starts) in [
        ("attention", None, None),
        ("attention in a window", Some(4), None),
        ("attention in packed rows", None, Some(starts)),
    ] {
        let case = Case::new(window, starts);
        let expected = case.reference();
        let found = case.found(bench)?;
        let parts = [
            "value",
            "gradient of the queries",
            "gradient of the keys",
            "gradient of the values",
        ];
        for ((part, found), expected) in parts.iter().zip(&found).zip(&expected) {
            report.compare(&format!("{name}: {part}"), found, expected, F32)?;
        }
    }
    Ok(())
}

struct Case {
    query: Vec<f64>,
    key: Vec<f64>,
    value: Vec<f64>,
    upstream: Vec<f64>,
    /// Cosines and sines, `[SEQ, PAIRS]`, as f32 holds them.
    rotation: [Vec<f64>; 2],
    window: Option<usize>,
    starts: Option<Vec<usize>>,
}

impl Case {
    fn new(window: Option<usize>, starts: Option<Vec<usize>>) -> Self {
        let angle = |at: usize| (at / PAIRS) as f64 * 0.3f64.powi((at % PAIRS) as i32);
        #[expect(clippy::cast_possible_truncation, reason = "what the device gets")]
        let table = |of: fn(f64) -> f64| {
            (0..SEQ * PAIRS)
                .map(|at| f64::from(of(angle(at)) as f32))
                .collect()
        };
        Self {
            query: drawn(BATCH * SEQ * HEADS * DIM, 11),
            key: drawn(BATCH * SEQ * KV_HEADS * DIM, 12),
            value: drawn(BATCH * SEQ * KV_HEADS * DIM, 13),
            upstream: drawn(BATCH * SEQ * HEADS * DIM, 14),
            rotation: [table(f64::cos), table(f64::sin)],
            window,
            starts,
        }
    }

    /// The output and the three gradients by the device.
    fn found(&self, bench: &Bench<'_>) -> Result<[Vec<f64>; 4]> {
        let device = bench.device.clone().autodiff();
        let leaf =
            |values: &[f64], heads: usize| tensor(values, [BATCH, SEQ, heads * DIM], &device).require_grad();
        let (query, key, value) = (
            leaf(&self.query, HEADS),
            leaf(&self.key, KV_HEADS),
            leaf(&self.value, KV_HEADS),
        );
        let [cos, sin] = (self.rotation.each_ref()).map(|table| tensor(table, [1, SEQ, PAIRS], &device));
        let output = causal_attention(AttentionInput {
            query: query.clone(),
            key: key.clone(),
            value: value.clone(),
            rotation: Some(Rotation { cos, sin }),
            options: AttentionOptions {
                head_dim: DIM,
                scale: SCALE,
                softcap: None,
                window: self.window,
                starts: self.starts.clone().map(Arc::from),
            },
        });
        let upstream = tensor(&self.upstream, [BATCH, SEQ, HEADS * DIM], &device);
        let gradients = (output.clone() * upstream).sum().backward();
        let gradient =
            |leaf: &burn::tensor::Tensor<3>| leaf.grad(&gradients).map(values).context("no gradient");
        Ok([
            values(output),
            gradient(&query)?,
            gradient(&key)?,
            gradient(&value)?,
        ])
    }

    fn first_key(&self, row: usize, position: usize) -> usize {
        let start = self
            .starts
            .as_ref()
            .map_or(0, |starts| starts[row * SEQ + position]);
        let window = self
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        start.max(window)
    }

    /// One head vector, rotated forth or, with `direction` −1, back.
    fn rotated(&self, vector: &[f64], position: usize, direction: f64) -> Vec<f64> {
        let mut rotated = vec![0.0; DIM];
        for pair in 0..PAIRS {
            let (cos, sin) = (
                self.rotation[0][position * PAIRS + pair],
                direction * self.rotation[1][position * PAIRS + pair],
            );
            let (first, second) = (vector[pair], vector[pair + PAIRS]);
            rotated[pair] = first * cos - second * sin;
            rotated[pair + PAIRS] = second * cos + first * sin;
        }
        rotated
    }

    /// The output and the three gradients in f64.
    fn reference(&self) -> [Vec<f64>; 4] {
        let mut output = vec![0.0; self.query.len()];
        let mut d_query = vec![0.0; self.query.len()];
        let mut d_key = vec![0.0; self.key.len()];
        let mut d_value = vec![0.0; self.value.len()];
        for row in 0..BATCH {
            for head in 0..HEADS {
                for position in 0..SEQ {
                    let query_at = ((row * SEQ + position) * HEADS + head) * DIM;
                    let key_at = |key: usize| ((row * SEQ + key) * KV_HEADS + head * KV_HEADS / HEADS) * DIM;
                    let query = self.rotated(&self.query[query_at..][..DIM], position, 1.0);
                    let keys: Vec<usize> = (self.first_key(row, position)..=position).collect();
                    let rotated: Vec<Vec<f64>> = (keys.iter())
                        .map(|&key| self.rotated(&self.key[key_at(key)..][..DIM], key, 1.0))
                        .collect();
                    let weights = softmax(rotated.iter().map(|key| SCALE * dot(&query, key)));
                    for (&key, weight) in keys.iter().zip(&weights) {
                        add(
                            &mut output[query_at..][..DIM],
                            *weight,
                            &self.value[key_at(key)..][..DIM],
                        );
                    }
                    let up = &self.upstream[query_at..][..DIM];
                    let mean = dot(up, &output[query_at..][..DIM]);
                    let mut turned = vec![0.0; DIM];
                    for ((&key, weight), rotated) in keys.iter().zip(&weights).zip(&rotated) {
                        let value = &self.value[key_at(key)..][..DIM];
                        let score = weight * (dot(up, value) - mean) * SCALE;
                        add(&mut d_value[key_at(key)..][..DIM], *weight, up);
                        add(&mut turned, score, rotated);
                        add(
                            &mut d_key[key_at(key)..][..DIM],
                            score,
                            &self.rotated(&query, key, -1.0),
                        );
                    }
                    add(
                        &mut d_query[query_at..][..DIM],
                        1.0,
                        &self.rotated(&turned, position, -1.0),
                    );
                }
            }
        }
        [output, d_query, d_key, d_value]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, terms: &[f64]) {
    for (sum, term) in sum.iter_mut().zip(terms) {
        *sum += factor * term;
    }
}

fn softmax(scores: impl Iterator<Item = f64>) -> Vec<f64> {
    let scores: Vec<f64> = scores.collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
