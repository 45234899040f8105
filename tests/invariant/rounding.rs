//! Attention and likelihood with bf16 factors: exactly the factors of products are rounded, forward and backward.
//!
//! ```text
//! S = r(Q) r(K)ᵀ    P = softmax(S)    O = r(P) r(V)
//! dV = r(P)ᵀ r(dO)    dS = P ∘ (r(dO) r(V)ᵀ − rowsum(r(dO) ∘ O))    dQ = r(dS) r(K)    dK = r(dS)ᵀ r(Q)
//!
//! L = r(H) r(W)ᵀ    dL = g (onehot − softmax(L))    dH = r(dL) r(W)    dW = r(dL)ᵀ r(H)
//! ```
//!
//! The intermediate values P, dS and dL are computed in f32 here and in f64 in the reference, so a few of them are
//! rounded to the other neighbour. Therefore the test compares distances: to the sums with `r`, relative to the
//! distance between the sums with and without `r`.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, bf16};
use cadft_core::{
    ChunkSize, Precision, Statistic, linear_divergence, linear_log_probs_chunked, linear_statistic,
};
use cadft_model::fused::{AttentionInput, AttentionOptions, causal_attention};
use cadft_tests::arrays::values;
use cadft_tests::{BF16, F32, devices};

/// Largest remaining distance, relative to the effect of rounding.
const LEFT: f64 = 0.05;

type Round = fn(f64) -> f64;

fn rounded(x: f64) -> f64 {
    // All values that are rounded are f32 before.
    bf16::from_f32(x as f32).to_f64()
}

fn exact(x: f64) -> f64 {
    x
}

/// A row-major matrix.
#[derive(Clone)]
struct Matrix {
    values: Vec<f64>,
    columns: usize,
}

impl Matrix {
    /// Pseudorandom numbers between −1 and 1, exact in f32.
    fn drawn(rows: usize, columns: usize, seed: u64) -> Self {
        let mut state = seed;
        let values = (0..rows * columns).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            f64::from((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        });
        Self {
            values: values.collect(),
            columns,
        }
    }

    fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        Self {
            values: self.values.iter().map(|&x| of(x)).collect(),
            columns: self.columns,
        }
    }

    fn from_fn(rows: usize, columns: usize, of: impl Fn(usize, usize) -> f64) -> Self {
        Self {
            values: (0..rows * columns)
                .map(|at| of(at / columns, at % columns))
                .collect(),
            columns,
        }
    }

    fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows(), |row, column| self.at(column, row))
    }

    fn product(&self, other: &Self) -> Self {
        Self::from_fn(self.rows(), other.columns, |row, column| {
            (0..self.columns)
                .map(|k| self.at(row, k) * other.at(k, column))
                .sum()
        })
    }

    /// `log Σ exp` of each row.
    fn log_sum_exp(&self) -> Vec<f64> {
        let of_row = |row: &[f64]| row.iter().map(|x| x.exp()).sum::<f64>().ln();
        self.values.chunks(self.columns).map(of_row).collect()
    }

    fn tensor<const D: usize>(&self, dims: [usize; D], device: &Device) -> Tensor<D> {
        let values: Vec<f32> = self.values.iter().map(|&x| x as f32).collect();
        Tensor::from_data(TensorData::new(values, dims), device)
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Compares each part with its values with and without rounding.
fn assert_rounded(name: &str, parts: &[&str], found: &[Vec<f64>], [with, without]: &[Vec<Matrix>; 2]) {
    for (index, part) in parts.iter().enumerate() {
        let (with, without) = (&with[index].values, &without[index].values);
        let (left, whole) = (distance(&found[index], with), distance(with, without));
        assert!(
            left < LEFT * whole,
            "{name}: {part}: {left:e} from the rounded sums, which are {whole:e} from the exact ones"
        );
    }
}

fn on_devices(check: impl Fn(&str, &Device)) {
    for (name, device) in devices() {
        if device.supports_dtype(DType::BF16) {
            check(name, &device.autodiff());
        }
    }
}

const SEQ: usize = 150;
const HEAD_DIM: usize = 16;
const SCALE: f64 = 0.25;

/// The output, and the gradients of queries, keys and values, of one causal head; the scale is a power of two.
fn attention([query, key, value, up]: &[Matrix; 4], round: Round) -> Vec<Matrix> {
    let [query, key, value, up] = [query, key, value, up].map(|x| x.map(round));
    let scores = query.product(&key.transposed()).map(|x| x * SCALE);
    let seen = |row: usize, column: usize| column <= row;
    let masked = Matrix::from_fn(SEQ, SEQ, |row, column| {
        if seen(row, column) {
            scores.at(row, column)
        } else {
            f64::NEG_INFINITY
        }
    });
    let sums = masked.log_sum_exp();
    let probs = Matrix::from_fn(SEQ, SEQ, |row, column| (masked.at(row, column) - sums[row]).exp());
    let factors = probs.map(round);
    let output = factors.product(&value);
    let d_probs = up.product(&value.transposed());
    let delta = |row: usize| -> f64 { (0..HEAD_DIM).map(|k| up.at(row, k) * output.at(row, k)).sum() };
    let d_scores = Matrix::from_fn(SEQ, SEQ, |row, column| {
        probs.at(row, column) * (d_probs.at(row, column) - delta(row))
    });
    let d_scores = d_scores.map(round);
    let scaled = |x: Matrix| x.map(|x| x * SCALE);
    vec![
        output,
        scaled(d_scores.product(&key)),
        scaled(d_scores.transposed().product(&query)),
        factors.transposed().product(&up),
    ]
}

#[test]
fn attention_rounds_the_factors_of_its_products_and_nothing_else() {
    let inputs = [1, 2, 3, 4].map(|seed| Matrix::drawn(SEQ, HEAD_DIM, seed));
    let expected = [rounded, exact].map(|round| attention(&inputs, round));
    on_devices(|name, device| {
        let dims = [1, SEQ, HEAD_DIM];
        let [query, key, value] =
            [0, 1, 2].map(|index| inputs[index].tensor::<3>(dims, device).require_grad());
        let output = causal_attention(AttentionInput {
            query: query.clone(),
            key: key.clone(),
            value: value.clone(),
            rotation: None,
            options: AttentionOptions {
                head_dim: HEAD_DIM,
                scale: SCALE,
                softcap: None,
                window: None,
                starts: None,
                precision: Precision::Bf16,
            },
        });
        let grads = (output.clone() * inputs[3].tensor::<3>(dims, device))
            .sum()
            .backward();
        let gradient = |leaf: &Tensor<3>| values(leaf.grad(&grads).expect("a gradient"));
        let found = [values(output), gradient(&query), gradient(&key), gradient(&value)];
        assert_rounded(name, &["output", "queries", "keys", "values"], &found, &expected);
    });
}

const TOKENS: usize = 70;
const SIZE: usize = 24;
const VOCAB: usize = 130;

fn target(token: usize) -> usize {
    token * 37 % VOCAB
}

/// Log-likelihoods, their gradients with respect to hidden states and weight, and entropies.
fn likelihood([hidden, weight, up]: &[Matrix; 3], round: Round) -> Vec<Matrix> {
    let [hidden, weight] = [hidden, weight].map(|x| x.map(round));
    let logits = hidden.product(&weight.transposed());
    let sums = logits.log_sum_exp();
    let log_prob = |row: usize, column: usize| logits.at(row, column) - sums[row];
    let d_logits = Matrix::from_fn(TOKENS, VOCAB, |row, column| {
        let hit = if column == target(row) { 1.0 } else { 0.0 };
        round(up.at(row, 0) * (hit - log_prob(row, column).exp()))
    });
    let entropy = |row: usize| -> f64 {
        let terms = (0..VOCAB).map(|column| log_prob(row, column));
        -terms.map(|log_prob| log_prob.exp() * log_prob).sum::<f64>()
    };
    vec![
        Matrix::from_fn(TOKENS, 1, |row, _| log_prob(row, target(row))),
        d_logits.product(&weight),
        d_logits.transposed().product(&hidden),
        Matrix::from_fn(TOKENS, 1, |row, _| entropy(row)),
    ]
}

#[test]
fn the_likelihood_rounds_the_factors_of_its_products_and_nothing_else() {
    let inputs = [
        Matrix::drawn(TOKENS, SIZE, 5),
        Matrix::drawn(VOCAB, SIZE, 6),
        Matrix::drawn(TOKENS, 1, 7),
    ];
    let expected = [rounded, exact].map(|round| likelihood(&inputs, round));
    on_devices(|name, device| {
        let ids: Vec<i64> = (0..TOKENS).map(|token| target(token) as i64).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [TOKENS]), device);
        let hidden = inputs[0].tensor::<2>([TOKENS, SIZE], device).require_grad();
        let weight = inputs[1].tensor::<2>([VOCAB, SIZE], device).require_grad();
        let up = inputs[2].tensor::<1>([TOKENS], device);
        for rows in [11, TOKENS] {
            let log_probs = linear_log_probs_chunked(
                hidden.clone(),
                weight.clone(),
                targets.clone(),
                Precision::Bf16,
                ChunkSize::Rows(rows),
            );
            // The sums in the logits have the precision of f32.
            F32.assert_close(name, &values(log_probs.clone()), &expected[0][0].values);
            let grads = (log_probs.clone() * up.clone()).sum().backward();
            let gradient = |leaf: &Tensor<2>| values(leaf.grad(&grads).expect("a gradient"));
            let entropy = linear_statistic(
                hidden.clone().inner(),
                weight.clone().inner(),
                Statistic::Entropy,
                Precision::Bf16,
            );
            let found = [
                values(log_probs),
                gradient(&hidden),
                gradient(&weight),
                values(entropy),
            ];
            let parts = ["log-likelihoods", "hidden states", "weight", "entropies"];
            assert_rounded(&format!("{name}, {rows} rows"), &parts, &found, &expected);
        }
    });
}

/// The given factors are exact in bf16 already, so only the gradient of the logits is rounded.
#[test]
fn the_divergence_rounds_the_factors_of_its_products_and_nothing_else() {
    on_devices(|name, device| {
        let drawn = |rows, seed| {
            let matrix = Matrix::drawn(rows, SIZE, seed).tensor::<2>([rows, SIZE], device);
            matrix.cast(DType::BF16).cast(DType::F32)
        };
        let run = |precision| {
            let policy = [drawn(TOKENS, 1).require_grad(), drawn(VOCAB, 2).require_grad()];
            let reference = [drawn(TOKENS, 3), drawn(VOCAB, 4)];
            let divergence = linear_divergence(policy.clone(), reference, precision, ChunkSize::Rows(11));
            let grads = divergence.clone().sum().backward();
            let [d_hidden, d_weight] = policy.map(|leaf| values(leaf.grad(&grads).expect("a gradient")));
            (values(divergence), d_hidden, d_weight)
        };
        let (found, expected) = (run(Precision::Bf16), run(Precision::F32));
        F32.assert_close(&format!("{name}: divergence"), &found.0, &expected.0);
        BF16.assert_close(&format!("{name}: hidden states"), &found.1, &expected.1);
        BF16.assert_close(&format!("{name}: weight"), &found.2, &expected.2);
        assert_ne!(found.1, expected.1, "{name}: nothing was rounded");
    });
}

#[test]
fn hidden_states_in_bf16_get_their_gradient_in_bf16() {
    on_devices(|name, device| {
        let hidden = Matrix::drawn(3, 4, 1).tensor::<2>([3, 4], device).require_grad();
        let weight = Matrix::drawn(5, 4, 2).tensor::<2>([5, 4], device).require_grad();
        let targets = Tensor::<1, Int>::from_data([0, 2, 4], device);
        let run = |hidden: Tensor<2>, precision| {
            let chunk = ChunkSize::Auto;
            let log_probs =
                linear_log_probs_chunked(hidden, weight.clone(), targets.clone(), precision, chunk);
            let grads = log_probs.clone().sum().backward();
            (
                values(log_probs),
                values(weight.grad(&grads).expect("a gradient")),
            )
        };
        let cast = run(hidden.clone().cast(DType::BF16), Precision::F32);
        assert_eq!(cast, run(hidden, Precision::Bf16), "{name}");
    });
}
