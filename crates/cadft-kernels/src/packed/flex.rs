//! Products of a packed matrix on Flex: a panel of rows is unpacked into memory that is kept, and multiplied.
//!
//! ```text
//! y[:, panel] = x · W[panel]ᵀ          ∂x = Σ_panels ∂y[:, panel] · W[panel]
//! ```
//!
//! The panels depend on the shape alone, so that the number of threads does not change a result.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use rayon::prelude::*;

use super::format::PackedLayout;
use super::kernels::PackedKernels;
use super::unpack::Matrix;
use crate::cpu::{FEW_ROWS, Threads, View, Write, few_rows_product, gemm, product, round_to_bf16};
use crate::flex::{Float, bf16_factor, contiguous, floats, tensor};
use crate::products::Precision;

/// Values of a panel, about: 16 MiB.
const PANEL: usize = 4 << 20;
/// Rows of a panel: at least what hides the work around a product, and at most what a product sums at a time.
const ROWS: [usize; 2] = [64, 512];
/// Values that one task unpacks.
const TASK: usize = 1 << 15;

/// The memory of panels that no product uses at present.
static FREE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
/// Panels that are kept: of the products that training runs at the same time.
const KEPT: usize = 2;

/// Memory for a panel.
fn take() -> Vec<f32> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    free.pop().unwrap_or_default()
}

/// Keeps the memory of a panel for the next product.
fn put_back(panel: Vec<f32>) {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.len() < KEPT {
        free.push(panel);
    }
}

impl PackedKernels for Flex {
    fn packed_projection(
        x: Float,
        codes: IntTensor<Self>,
        scales: Float,
        layout: PackedLayout,
        precision: Precision,
    ) -> Float {
        let [rows, input] = x.shape().dims();
        let [output, _] = layout.shape;
        let x = contiguous_factor(x, precision);
        let x = factor(&x, precision);
        let mut y = vec![0.0; rows * output];
        for_panels(&Held::new(codes, scales, layout), precision, |panel, weight| {
            let width = panel.len();
            let part = if rows <= FEW_ROWS && precision == Precision::F32 {
                few_rows_product(&x, weight, input)
            } else {
                let weight = View::new(weight, width, input);
                product(View::new(&x, rows, input), weight.transpose(), Threads::All)
            };
            y.par_chunks_mut(output)
                .zip(part.par_chunks(width))
                .with_min_len(TASK.div_ceil(width))
                .for_each(|(y, part)| y[panel.clone()].copy_from_slice(part));
        });
        tensor(y, [rows, output])
    }

    fn packed_input_gradient(
        grad: Float,
        codes: IntTensor<Self>,
        scales: Float,
        layout: PackedLayout,
        precision: Precision,
    ) -> Float {
        let [rows, output] = grad.shape().dims();
        let [_, input] = layout.shape;
        let grad = contiguous_factor(grad, precision);
        let grad = factor(&grad, precision);
        let grad = View::new(&grad, rows, output);
        let mut d_x = vec![0.0; rows * input];
        for_panels(&Held::new(codes, scales, layout), precision, |panel, weight| {
            let write = if panel.start == 0 { Write::Set } else { Write::Add };
            let weight = View::new(weight, panel.len(), input);
            let grad = grad.column_range(panel.start, panel.end);
            gemm(&mut d_x, grad, weight, write, Threads::All);
        });
        tensor(d_x, [rows, input])
    }

    fn packed_row_squares(codes: IntTensor<Self>, scales: Float, layout: PackedLayout) -> Float {
        let [output, input] = layout.shape;
        let mut squares = vec![0.0; output];
        for_panels(
            &Held::new(codes, scales, layout),
            Precision::F32,
            |panel, weight| {
                squares[panel]
                    .par_iter_mut()
                    .zip(weight.par_chunks(input))
                    .for_each(|(sum, row)| {
                        *sum = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() as f32;
                    });
            },
        );
        tensor(squares, [output])
    }

    fn packed_unpacked(codes: IntTensor<Self>, scales: Float, layout: PackedLayout) -> Float {
        let mut values = vec![0.0; layout.count()];
        unpack(
            &Held::new(codes, scales, layout).matrix(),
            0..layout.shape[0],
            &mut values,
        );
        tensor(values, layout.shape)
    }
}

/// The tensors of a packed matrix, in order in memory.
struct Held {
    codes: IntTensor<Flex>,
    scales: FloatTensor<Flex>,
    layout: PackedLayout,
}

impl Held {
    fn new(codes: IntTensor<Flex>, scales: FloatTensor<Flex>, layout: PackedLayout) -> Self {
        let codes = if codes.as_slice::<i32>().is_some() {
            codes
        } else {
            codes.to_contiguous()
        };
        Self {
            codes,
            scales: contiguous(scales),
            layout,
        }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix {
            codes: (self.codes.as_slice::<i32>()).expect("contiguous words of 32 bits have a slice"),
            scales: floats(&self.scales),
            layout: self.layout,
        }
    }
}

/// An f32 tensor in order in memory; one of bf16 factors as it is.
fn contiguous_factor(x: Float, precision: Precision) -> Float {
    match precision {
        Precision::F32 => contiguous(x),
        Precision::Bf16 => x,
    }
}

/// The values of a factor, rounded if that is the precision.
fn factor(x: &Float, precision: Precision) -> Cow<'_, [f32]> {
    match precision {
        Precision::F32 => floats(x).into(),
        Precision::Bf16 => bf16_factor(x.clone()).into(),
    }
}

/// Unpacks one panel after the other, and calls `each` with its rows and their values, `[rows * input]`.
fn for_panels(held: &Held, precision: Precision, mut each: impl FnMut(Range<usize>, &[f32])) {
    let matrix = held.matrix();
    let [output, input] = held.layout.shape;
    let rows = panel_rows(held.layout.shape);
    let mut scratch = take();
    for start in (0..output).step_by(rows) {
        let panel = start..(start + rows).min(output);
        let size = panel.len() * input;
        if scratch.len() < size {
            scratch.resize(size, 0.0);
        }
        let values = &mut scratch[..size];
        unpack(&matrix, panel.clone(), values);
        if precision == Precision::Bf16 {
            values.par_chunks_mut(TASK).for_each(round_to_bf16);
        }
        each(panel, values);
    }
    put_back(scratch);
}

/// Rows of the panels: equally many, but for the last one.
fn panel_rows([output, input]: [usize; 2]) -> usize {
    let [least, most] = ROWS;
    let rows = (PANEL / input.max(1)).clamp(least, most);
    output.div_ceil(output.div_ceil(rows).max(1)).max(1)
}

/// Unpacks rows on all threads.
fn unpack(matrix: &Matrix<'_>, rows: Range<usize>, values: &mut [f32]) {
    let [_, input] = matrix.layout.shape;
    let of_task = TASK.div_ceil(input.max(1));
    values
        .par_chunks_mut((of_task * input).max(1))
        .enumerate()
        .for_each(|(task, values)| {
            let start = rows.start + task * of_task;
            matrix.unpack(start..start + values.len() / input, values);
        });
}
