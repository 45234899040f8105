//! Causal grouped-query attention with rotation, windows, packed rows and a soft-cap, value and gradients, against f64 on
//! the host.
//!
//! ```text
//! S = scale · R(Q) R(K)ᵀ    Z = cap · tanh(S / cap)    P = softmax(Z)    O = P V
//! dV = Pᵀ dO    dZ = P ∘ (dO Vᵀ − rowsum(dO ∘ O))    dS = dZ ∘ (1 − (Z / cap)²)
//! dQ = scale · Rᵀ(dS R(K))    dK = scale · Rᵀ(dSᵀ R(Q))
//! ```

use super::Bench;
use super::arrays::{drawn, tensor, values};
use super::report::Report;
use crate::tolerance::{BF16_FOR_F32, F32};
use anyhow::{Context, Result};
use burn::tensor::DType;
use cadft_model::decoder::Precision;
use cadft_model::fused::{AttentionInput, AttentionOptions, Rotation, causal_attention};
use std::sync::Arc;

const BATCH: usize = 2;
/// A few positions; and more than a kernel processes at once.
const FEW: usize = 13;
const MANY: usize = 300;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
/// Not a power of two: an allocator that aligns rows leaves gaps between them.
const DIM: usize = 12;
const PAIRS: usize = DIM / 2;
const SCALE: f64 = 0.35;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let plain = Case::new(FEW);
    let mut cases = vec![
        ("attention", plain.clone()),
        (
            "attention in a window",
            Case {
                window: Some(4),
                ..plain.clone()
            },
        ),
        ("attention in packed rows", plain.clone().packed(5)),
        (
            "attention with a soft-cap",
            Case {
                softcap: Some(1.5),
                ..plain
            },
        ),
        ("attention, long", Case::new(MANY)),
        (
            "attention in a window, long",
            Case {
                window: Some(70),
                ..Case::new(MANY)
            },
        ),
        ("attention in packed rows, long", Case::new(MANY).packed(190)),
    ];
    if bench.device.supports_dtype(DType::BF16) {
        let bf16 = Case {
            precision: Precision::Bf16,
            ..Case::new(MANY)
        };
        let bent = Case {
            window: Some(70),
            softcap: Some(1.5),
            ..bf16.clone().packed(190)
        };
        cases.push(("attention of bf16 factors, long", bf16));
        cases.push(("attention of bf16 factors with every option", bent));
    }
    for (name, case) in cases {
        let tolerance = match case.precision {
            Precision::F32 => F32,
            Precision::Bf16 => BF16_FOR_F32,
        };
        let expected = case.reference();
        let found = case.found(bench)?;
        let parts = [
            "value",
            "gradient of the queries",
            "gradient of the keys",
            "gradient of the values",
        ];
        for ((part, found), expected) in parts.iter().zip(&found).zip(&expected) {
            report.compare(&format!("{name}: {part}"), found, expected, tolerance)?;
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Case {
    seq: usize,
    query: Vec<f64>,
    key: Vec<f64>,
    value: Vec<f64>,
    upstream: Vec<f64>,
    /// Cosines and sines, `[seq, PAIRS]`, rounded to f32.
    rotation: [Vec<f64>; 2],
    window: Option<usize>,
    softcap: Option<f64>,
    starts: Option<Vec<usize>>,
    precision: Precision,
}

impl Case {
    fn new(seq: usize) -> Self {
        let angle = |at: usize| (at / PAIRS) as f64 * 0.3f64.powi((at % PAIRS) as i32);
        #[expect(clippy::cast_possible_truncation, reason = "what the device gets")]
        let table = |of: fn(f64) -> f64| {
            (0..seq * PAIRS)
                .map(|at| f64::from(of(angle(at)) as f32))
                .collect()
        };
        Self {
            seq,
            query: drawn(BATCH * seq * HEADS * DIM, 11),
            key: drawn(BATCH * seq * KV_HEADS * DIM, 12),
            value: drawn(BATCH * seq * KV_HEADS * DIM, 13),
            upstream: drawn(BATCH * seq * HEADS * DIM, 14),
            rotation: [table(f64::cos), table(f64::sin)],
            window: None,
            softcap: None,
            starts: None,
            precision: Precision::F32,
        }
    }

    /// Makes the second row hold two samples, the second of which begins at `start`.
    fn packed(self, start: usize) -> Self {
        let seq = self.seq;
        let starts = (0..BATCH * seq).map(|at| if at >= seq + start { start } else { 0 });
        Self {
            starts: Some(starts.collect()),
            ..self
        }
    }

    /// The output and the three gradients, computed by the device.
    fn found(&self, bench: &Bench<'_>) -> Result<[Vec<f64>; 4]> {
        let device = bench.device.clone().autodiff();
        let leaf = |values: &[f64], heads: usize| {
            tensor(values, [BATCH, self.seq, heads * DIM], &device).require_grad()
        };
        let (query, key, value) = (
            leaf(&self.query, HEADS),
            leaf(&self.key, KV_HEADS),
            leaf(&self.value, KV_HEADS),
        );
        let [cos, sin] = (self.rotation.each_ref()).map(|table| tensor(table, [1, self.seq, PAIRS], &device));
        let output = causal_attention(AttentionInput {
            query: query.clone(),
            key: key.clone(),
            value: value.clone(),
            rotation: Some(Rotation { cos, sin }),
            options: AttentionOptions {
                head_dim: DIM,
                scale: SCALE,
                softcap: self.softcap,
                window: self.window,
                starts: self.starts.clone().map(Arc::from),
                precision: self.precision,
            },
        });
        let upstream = tensor(&self.upstream, [BATCH, self.seq, HEADS * DIM], &device);
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
            .map_or(0, |starts| starts[row * self.seq + position]);
        let window = self
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        start.max(window)
    }

    fn bent(&self, score: f64) -> f64 {
        self.softcap.map_or(score, |cap| cap * (score / cap).tanh())
    }

    /// One head vector, rotated forward or, with `direction` −1, backward.
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
                for position in 0..self.seq {
                    let query_at = ((row * self.seq + position) * HEADS + head) * DIM;
                    let key_at =
                        |key: usize| ((row * self.seq + key) * KV_HEADS + head * KV_HEADS / HEADS) * DIM;
                    let query = self.rotated(&self.query[query_at..][..DIM], position, 1.0);
                    let keys: Vec<usize> = (self.first_key(row, position)..=position).collect();
                    let rotated: Vec<Vec<f64>> = (keys.iter())
                        .map(|&key| self.rotated(&self.key[key_at(key)..][..DIM], key, 1.0))
                        .collect();
                    let bent: Vec<f64> = (rotated.iter())
                        .map(|key| self.bent(SCALE * dot(&query, key)))
                        .collect();
                    let weights = softmax(&bent);
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
                    for (index, &key) in keys.iter().enumerate() {
                        let (weight, rotated) = (weights[index], &rotated[index]);
                        let value = &self.value[key_at(key)..][..DIM];
                        let slope = self.softcap.map_or(1.0, |cap| 1.0 - (bent[index] / cap).powi(2));
                        let score = weight * (dot(up, value) - mean) * slope * SCALE;
                        add(&mut d_value[key_at(key)..][..DIM], weight, up);
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

fn softmax(scores: &[f64]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
