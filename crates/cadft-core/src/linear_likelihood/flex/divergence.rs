//! The divergence from a reference on Flex: two chunks of logits; the policy's becomes the gradient in place.

use super::simd::{row_divergence, row_divergence_gradient};
use super::{Float, Matrix, bend, contiguous, floats, rows, straighten, tensor};
use crate::linear_likelihood::chunk::chunks;
use crate::linear_likelihood::inputs::{Compared, Wanted};
use burn::backend::Flex;
use cadft_kernels::Precision;
use cadft_kernels::cpu::{Threads, View, Write, gemm, round_to_bf16};
use rayon::prelude::*;

/// Policy and reference, with a buffer for one chunk of logits of each.
struct Problem {
    policy: [Matrix; 2],
    reference: [Matrix; 2],
    logits: [Vec<f32>; 2],
    softcaps: [Option<f32>; 2],
    rows: usize,
}

impl Problem {
    fn new(compared: Compared<Flex>, precision: Precision) -> Self {
        let matrix = |tensor| Matrix::new(tensor, precision);
        let policy = [matrix(compared.hidden), matrix(compared.weight)];
        let reference = [
            matrix(compared.reference_hidden),
            matrix(compared.reference_weight),
        ];
        let (tokens, vocab) = (policy[0].rows, policy[1].rows);
        let rows = rows(compared.logits.chunk, tokens, vocab);
        Self {
            policy,
            reference,
            logits: [(); 2].map(|()| vec![0.0; rows * vocab]),
            softcaps: [compared.logits.softcap, compared.reference_softcap],
            rows,
        }
    }

    fn vocab(&self) -> usize {
        self.policy[1].rows
    }

    /// Logits of rows `start..end`: the policy's, then the reference's.
    fn logits(&mut self, start: usize, end: usize) -> [&mut [f32]; 2] {
        let length = (end - start) * self.vocab();
        let Self {
            policy,
            reference,
            logits: [p, q],
            ..
        } = self;
        let (p, q) = (&mut p[..length], &mut q[..length]);
        for ([hidden, weight], logits) in [(policy, &mut *p), (reference, &mut *q)] {
            let hidden = hidden.view().row_range(start, end);
            gemm(
                logits,
                hidden,
                weight.view().transpose(),
                Write::Set,
                Threads::All,
            );
        }
        [p, q]
    }
}

pub(super) fn forward(compared: Compared<Flex>) -> Float {
    let precision = Precision::of(&compared.hidden);
    let mut problem = Problem::new(compared, precision);
    let (tokens, vocab) = (problem.policy[0].rows, problem.vocab());
    let mut values = vec![0.0; tokens];
    let softcaps = problem.softcaps;
    for (start, end) in chunks(tokens, problem.rows) {
        let [p, q] = problem.logits(start, end);
        (p.par_chunks_mut(vocab).zip(q.par_chunks_mut(vocab)))
            .zip(&mut values[start..end])
            .for_each(|((p, q), value)| {
                bend(p, softcaps[0]);
                bend(q, softcaps[1]);
                *value = row_divergence(p, q);
            });
    }
    tensor(values, [tokens])
}

pub(super) fn backward(compared: Compared<Flex>, grad: Float, wanted: Wanted) -> (Float, Option<Float>) {
    let precision = Precision::of(&compared.hidden);
    let mut problem = Problem::new(compared, precision);
    let (tokens, vocab, size) = (problem.policy[0].rows, problem.vocab(), problem.policy[0].columns);
    let grad = contiguous(grad);
    let grad = floats(&grad);
    let softcaps = problem.softcaps;
    let mut d_hidden = vec![0.0; tokens * size];
    let mut d_weight = (wanted == Wanted::Both).then(|| vec![0.0; vocab * size]);
    for (start, end) in chunks(tokens, problem.rows) {
        let [p, q] = problem.logits(start, end);
        (p.par_chunks_mut(vocab).zip(q.par_chunks_mut(vocab)))
            .zip(&grad[start..end])
            .for_each(|((p, q), &grad)| {
                let slopes = bend(p, softcaps[0]);
                bend(q, softcaps[1]);
                row_divergence_gradient(p, q, grad);
                straighten(p, slopes);
                if precision == Precision::Bf16 {
                    round_to_bf16(p);
                }
            });
        let d_logits = View::new(&problem.logits[0][..(end - start) * vocab], end - start, vocab);
        let [hidden, weight] = problem.policy.each_ref().map(Matrix::view);
        let rows = &mut d_hidden[start * size..end * size];
        gemm(rows, d_logits, weight, Write::Set, Threads::All);
        if let Some(d_weight) = &mut d_weight {
            let write = if start == 0 { Write::Set } else { Write::Add };
            let hidden = hidden.row_range(start, end);
            gemm(d_weight, d_logits.transpose(), hidden, write, Threads::All);
        }
    }
    (
        tensor(d_hidden, [tokens, size]),
        d_weight.map(|values| tensor(values, [vocab, size])),
    )
}
