//! The fused likelihood on Flex (CPU): blocked GEMM, rayon, and SIMD chosen when the program runs.

use super::backend::{LikelihoodKernels, Saved, Wanted, portable_backward, portable_forward};
use super::chunk::{ChunkSize, chunks};
use super::simd::{row_gradient, row_log_sum_exp};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape, TensorData};
use rayon::prelude::*;

type Float = FloatTensor<Flex>;

impl LikelihoodKernels for Flex {
    fn likelihood_forward(
        hidden: Float,
        weight: Float,
        targets: IntTensor<Self>,
        chunk: ChunkSize,
    ) -> (Float, Float) {
        if hidden.dtype() != DType::F32 || weight.dtype() != DType::F32 {
            return portable_forward::<Self>(&hidden, weight, &targets, chunk);
        }
        let (hidden, weight) = (Matrix::new(hidden), Matrix::new(weight));
        let targets = target_ids(targets, weight.rows);
        let (tokens, vocab) = (hidden.rows, weight.rows);
        let mut log_probs = vec![0.0; tokens];
        let mut sums = vec![0.0; tokens];
        let rows = chunk.rows(vocab).min(tokens.max(1));
        let mut logits = vec![0.0; rows * vocab];
        for (start, end) in chunks(tokens, rows) {
            let logits = &mut logits[..(end - start) * vocab];
            gemm(
                logits,
                hidden.view().rows(start, end),
                weight.view().transpose(),
                Write::Set,
            );
            logits
                .par_chunks(vocab)
                .zip(log_probs[start..end].par_iter_mut())
                .zip(sums[start..end].par_iter_mut().zip(&targets[start..end]))
                .for_each(|((row, log_prob), (sum, &target))| {
                    *sum = row_log_sum_exp(row);
                    *log_prob = row[target] - *sum;
                });
        }
        (tensor(log_probs, [tokens]), tensor(sums, [tokens]))
    }

    fn likelihood_backward(saved: Saved<Self>, grad: Float) -> (Float, Float) {
        let (d_hidden, d_weight) = backward(saved, grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    fn likelihood_backward_hidden(saved: Saved<Self>, grad: Float) -> Float {
        backward(saved, grad, Wanted::Hidden).0
    }
}

fn backward(saved: Saved<Flex>, grad: Float, wanted: Wanted) -> (Float, Option<Float>) {
    if saved.hidden.dtype() != DType::F32 || saved.weight.dtype() != DType::F32 {
        return portable_backward::<Flex>(saved, &grad, wanted);
    }
    let Saved {
        hidden,
        weight,
        targets,
        log_sum_exp,
        chunk,
    } = saved;
    let (hidden, weight) = (Matrix::new(hidden), Matrix::new(weight));
    let targets = target_ids(targets, weight.rows);
    let (tokens, vocab, size) = (hidden.rows, weight.rows, hidden.cols);
    let (sums, grad) = (contiguous(log_sum_exp), contiguous(grad));
    let (sums, grad) = (floats(&sums), floats(&grad));
    let rows = chunk.rows(vocab).min(tokens.max(1));
    let mut d_logits = vec![0.0; rows * vocab];
    let mut d_hidden = vec![0.0; tokens * size];
    let mut d_weight = (wanted == Wanted::Both).then(|| vec![0.0; vocab * size]);
    for (start, end) in chunks(tokens, rows) {
        let d_logits = &mut d_logits[..(end - start) * vocab];
        let h = hidden.view().rows(start, end);
        gemm(d_logits, h, weight.view().transpose(), Write::Set);
        d_logits
            .par_chunks_mut(vocab)
            .zip(
                sums[start..end]
                    .par_iter()
                    .zip(&grad[start..end])
                    .zip(&targets[start..end]),
            )
            .for_each(|(row, ((&sum, &grad), &target))| {
                row_gradient(row, sum, grad);
                row[target] += grad;
            });
        let d_logits = View::new(d_logits, end - start, vocab);
        gemm(
            &mut d_hidden[start * size..end * size],
            d_logits,
            weight.view(),
            Write::Set,
        );
        if let Some(d_weight) = &mut d_weight {
            let write = if start == 0 { Write::Set } else { Write::Add };
            gemm(d_weight, d_logits.transpose(), h, write);
        }
    }
    (
        tensor(d_hidden, [tokens, size]),
        d_weight.map(|values| tensor(values, [vocab, size])),
    )
}

/// A contiguous row-major f32 matrix that owns its tensor.
struct Matrix {
    tensor: Float,
    rows: usize,
    cols: usize,
}

impl Matrix {
    fn new(tensor: Float) -> Self {
        let shape = tensor.shape();
        Self {
            rows: shape[0],
            cols: shape[1],
            tensor: contiguous(tensor),
        }
    }

    fn view(&self) -> View<'_> {
        View::new(floats(&self.tensor), self.rows, self.cols)
    }
}

/// A matrix as GEMM sees it.
#[derive(Clone, Copy)]
struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a view must cover its data");
        Self {
            data,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// Rows `start..end` of a matrix that is not transposed.
    fn rows(self, start: usize, end: usize) -> Self {
        View::new(
            &self.data[start * self.cols..end * self.cols],
            end - start,
            self.cols,
        )
    }

    fn transpose(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Set,
    Add,
}

/// `out = a · b` or `out += a · b`, `out` row-major, on all rayon threads.
fn gemm(out: &mut [f32], a: View<'_>, b: View<'_>, write: Write) {
    assert_eq!(a.cols, b.rows, "inner dimensions must agree");
    assert_eq!(
        out.len(),
        a.rows * b.cols,
        "the output must have the product's shape"
    );
    // SAFETY: a `View` covers its slice exactly (`View::new`) and transposing keeps the covered range; `out` has
    // `a.rows × b.cols` elements and, being borrowed mutably, overlaps neither input.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

fn contiguous(x: Float) -> Float {
    if x.as_slice::<f32>().is_some() {
        x
    } else {
        x.to_contiguous()
    }
}

fn floats(x: &Float) -> &[f32] {
    x.as_slice::<f32>().expect("a contiguous f32 tensor has a slice")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Float {
    Float::from_data(TensorData::new(values, Shape::new(shape)))
}

/// Targets as indices.
///
/// # Panics
/// If a target is outside the vocabulary; callers check ids when they are read.
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
