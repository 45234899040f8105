//! The fused likelihood on Flex (CPU): blocked GEMM, rayon, and SIMD selected at run time.

mod divergence;
mod simd;

use super::chunk::{ChunkSize, chunks};
use super::inputs::{Compared, Logits, Saved, Wanted};
use super::kernels::LikelihoodKernels;
use super::statistic::Statistic;
use burn::backend::tensor::IntTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use cadft_kernels::cpu::{Threads, View, Write, gemm, round_to_bf16};
use cadft_kernels::flex::{Float, bf16_factor, contiguous, floats, tensor};
use cadft_kernels::{Precision, cast};
use rayon::prelude::*;
use simd::{row_gradient, row_log_sum_exp, row_statistic};

impl LikelihoodKernels for Flex {
    fn likelihood_forward(
        hidden: Float,
        weight: Float,
        targets: IntTensor<Self>,
        Logits { softcap, chunk }: Logits,
    ) -> (Float, Float) {
        let precision = Precision::of(&hidden);
        let (hidden, weight) = (Matrix::new(hidden, precision), Matrix::new(weight, precision));
        let targets = target_ids(targets, weight.rows);
        let (tokens, vocab) = (hidden.rows, weight.rows);
        let mut log_probs = vec![0.0; tokens];
        let mut sums = vec![0.0; tokens];
        let rows = rows(chunk, tokens, vocab);
        let mut logits = vec![0.0; rows * vocab];
        for (start, end) in chunks(tokens, rows) {
            let logits = &mut logits[..(end - start) * vocab];
            gemm(
                logits,
                hidden.view().row_range(start, end),
                weight.view().transpose(),
                Write::Set,
                Threads::All,
            );
            logits
                .par_chunks_mut(vocab)
                .zip(log_probs[start..end].par_iter_mut())
                .zip(sums[start..end].par_iter_mut().zip(&targets[start..end]))
                .for_each(|((row, log_prob), (sum, &target))| {
                    bend(row, softcap);
                    *sum = row_log_sum_exp(row);
                    *log_prob = row[target] - *sum;
                });
        }
        (tensor(log_probs, [tokens]), tensor(sums, [tokens]))
    }

    fn likelihood_statistic(hidden: Float, weight: Float, statistic: Statistic, logits: Logits) -> Float {
        let Logits { softcap, chunk } = logits;
        let precision = Precision::of(&hidden);
        let (hidden, weight) = (Matrix::new(hidden, precision), Matrix::new(weight, precision));
        let (tokens, vocab) = (hidden.rows, weight.rows);
        let mut values = vec![0.0; tokens];
        let rows = rows(chunk, tokens, vocab);
        let mut logits = vec![0.0; rows * vocab];
        for (start, end) in chunks(tokens, rows) {
            let logits = &mut logits[..(end - start) * vocab];
            let h = hidden.view().row_range(start, end);
            gemm(logits, h, weight.view().transpose(), Write::Set, Threads::All);
            (logits.par_chunks_mut(vocab).zip(&mut values[start..end])).for_each(|(row, value)| {
                bend(row, softcap);
                *value = row_statistic(row, statistic);
            });
        }
        tensor(values, [tokens])
    }

    fn likelihood_backward(saved: Saved<Self>, grad: Float) -> (Float, Float) {
        let (d_hidden, d_weight) = backward(saved, grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    fn likelihood_backward_hidden(saved: Saved<Self>, grad: Float) -> Float {
        backward(saved, grad, Wanted::Hidden).0
    }

    fn divergence_forward(compared: Compared<Self>) -> Float {
        divergence::forward(compared)
    }

    fn divergence_backward(compared: Compared<Self>, grad: Float) -> (Float, Float) {
        let (d_hidden, d_weight) = divergence::backward(compared, grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    fn divergence_backward_hidden(compared: Compared<Self>, grad: Float) -> Float {
        divergence::backward(compared, grad, Wanted::Hidden).0
    }
}

fn backward(saved: Saved<Flex>, grad: Float, wanted: Wanted) -> (Float, Option<Float>) {
    let Saved {
        hidden,
        weight,
        targets,
        log_sum_exp,
        logits: Logits { softcap, chunk },
    } = saved;
    let precision = Precision::of(&hidden);
    let (hidden, weight) = (Matrix::new(hidden, precision), Matrix::new(weight, precision));
    let targets = target_ids(targets, weight.rows);
    let (tokens, vocab, size) = (hidden.rows, weight.rows, hidden.columns);
    let (sums, grad) = (contiguous(log_sum_exp), contiguous(grad));
    let (sums, grad) = (floats(&sums), floats(&grad));
    let rows = rows(chunk, tokens, vocab);
    let mut d_logits = vec![0.0; rows * vocab];
    let mut d_hidden = vec![0.0; tokens * size];
    let mut d_weight = (wanted == Wanted::Both).then(|| vec![0.0; vocab * size]);
    for (start, end) in chunks(tokens, rows) {
        let d_logits = &mut d_logits[..(end - start) * vocab];
        let h = hidden.view().row_range(start, end);
        gemm(d_logits, h, weight.view().transpose(), Write::Set, Threads::All);
        d_logits
            .par_chunks_mut(vocab)
            .zip(
                sums[start..end]
                    .par_iter()
                    .zip(&grad[start..end])
                    .zip(&targets[start..end]),
            )
            .for_each(|(row, ((&sum, &grad), &target))| {
                let slopes = bend(row, softcap);
                row_gradient(row, sum, grad);
                row[target] += grad;
                straighten(row, slopes);
                if precision == Precision::Bf16 {
                    round_to_bf16(row);
                }
            });
        let d_logits = View::new(d_logits, end - start, vocab);
        gemm(
            &mut d_hidden[start * size..end * size],
            d_logits,
            weight.view(),
            Write::Set,
            Threads::All,
        );
        if let Some(d_weight) = &mut d_weight {
            let write = if start == 0 { Write::Set } else { Write::Add };
            gemm(d_weight, d_logits.transpose(), h, write, Threads::All);
        }
    }
    (
        tensor(d_hidden, [tokens, size]),
        d_weight.map(|values| tensor(values, [vocab, size])),
    )
}

/// Applies the soft-cap to products in place; returns its derivatives if there is a cap.
fn bend(row: &mut [f32], softcap: Option<f32>) -> Option<Vec<f32>> {
    let cap = softcap?;
    let slopes = row.iter_mut().map(|z| {
        let tanh = (*z / cap).tanh();
        *z = cap * tanh;
        1.0 - tanh * tanh
    });
    Some(slopes.collect())
}

/// Turns gradients with respect to logits into gradients with respect to products.
fn straighten(row: &mut [f32], slopes: Option<Vec<f32>>) {
    for (gradient, slope) in row.iter_mut().zip(slopes.into_iter().flatten()) {
        *gradient *= slope;
    }
}

/// Rows of logits in memory at a time.
fn rows(chunk: ChunkSize, tokens: usize, vocab: usize) -> usize {
    chunk.rows(vocab).min(tokens.max(1))
}

/// A contiguous row-major f32 matrix; owns its tensor.
struct Matrix {
    tensor: Float,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// A factor of a product. A bf16 factor keeps its rounded values, and is multiplied in f32.
    fn new(tensor: Float, precision: Precision) -> Self {
        let [rows, columns] = tensor.shape().dims();
        let tensor = match precision {
            Precision::F32 => contiguous(cast::<Flex>(tensor, DType::F32)),
            Precision::Bf16 => self::tensor(bf16_factor(tensor), [rows, columns]),
        };
        Self {
            tensor,
            rows,
            columns,
        }
    }

    fn view(&self) -> View<'_> {
        View::new(floats(&self.tensor), self.rows, self.columns)
    }
}

/// The targets as indices.
///
/// # Panics
/// If a target is outside the vocabulary. Callers check ids when they read data.
fn target_ids(targets: IntTensor<Flex>, vocab: usize) -> Vec<usize> {
    let ids: Vec<i64> = targets.into_data().iter::<i64>().collect();
    ids.into_iter()
        .map(|id| {
            usize::try_from(id)
                .ok()
                .filter(|&id| id < vocab)
                .unwrap_or_else(|| panic!("target id {id} is outside the vocabulary of {vocab}"))
        })
        .collect()
}
