//! Products of matrices: the precision of a device's products, and a linear layer that is large enough for the device's
//! best kernels, against f64 on the host.
//!
//! ```text
//! y = x Wᵀ    ∂x = ∂y W    ∂W = ∂yᵀ x          in f32, and of factors rounded to bf16
//! ```

use super::Bench;
use super::arrays::{drawn, tensor, values};
use super::report::{Report, largest_error};
use crate::tolerance::{F32, TF32_PRODUCT};
use anyhow::{Context, Result};
use burn::tensor::{DType, Tensor, bf16};
use cadft_kernels::{Tf32, bf16_linear, matmul};
use cadft_model::fused::linear;

/// Rows of the input of the linear layer.
const ROWS: usize = 320;
const OUTPUT: usize = 256;
/// Inputs of the linear layer: kernels differ in the dimension that they sum over.
const INPUT: usize = 192;
const WIDE: usize = 576;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    precision(bench, report)?;
    layer(bench, report, "linear layer", INPUT, |value| value, linear)?;
    if bench.device.supports_dtype(DType::BF16) {
        // The drawn values are exact in f32.
        let rounded = |value| bf16::from_f32(value as f32).to_f64();
        for (input, name) in [
            (INPUT, "linear layer in bf16"),
            (WIDE, "wide linear layer in bf16"),
        ] {
            layer(bench, report, name, input, rounded, bf16_linear)?;
        }
        tiles(bench, report, rounded)?;
    }
    Ok(())
}

/// Measures the precision of products. If TF32 is allowed and used, all other tolerances depend on it.
fn precision(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let sizes @ [rows, inner, columns] = [64, 256, 48];
    let (a, b) = (drawn(rows * inner, 1), drawn(inner * columns, 2));
    let expected = product(&a, &b, sizes);
    let (a, b) = (
        tensor(&a, [rows, inner], &bench.device),
        tensor(&b, [inner, columns], &bench.device),
    );
    let error = largest_error(&values(matmul(a, b)), &expected, TF32_PRODUCT);
    if bench.tf32 == Tf32::Allowed && error > F32.relative && error <= TF32_PRODUCT.relative {
        report.reduce_precision();
        return report.measured("matrix products", error, TF32_PRODUCT);
    }
    report.measured("matrix products", error, F32)
}

/// A product of many tiles, the last of which are not full: some devices have another kernel for it.
fn tiles(bench: &Bench<'_>, report: &mut Report, rounded: impl Fn(f64) -> f64) -> Result<()> {
    let [rows, inner, columns] = [1900, 136, 1130];
    let [x, weight] = [(rows, 20), (columns, 21)].map(|(side, seed)| drawn(side * inner, seed));
    let output = bf16_linear(
        tensor(&x, [rows, inner], &bench.device),
        tensor(&weight, [columns, inner], &bench.device),
    );
    let [x, weight] = [x, weight].map(|values| values.into_iter().map(&rounded).collect::<Vec<_>>());
    let expected = product(&x, &transposed(&weight, inner), [rows, inner, columns]);
    report.compare("many tiles in bf16", &values(output), &expected, F32)
}

/// A linear layer and its gradients; `rounded` rounds a factor as the product does.
fn layer(
    bench: &Bench<'_>,
    report: &mut Report,
    name: &str,
    input: usize,
    rounded: impl Fn(f64) -> f64,
    of: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
) -> Result<()> {
    let (x, weight, upstream) = (
        drawn(ROWS * input, 6),
        drawn(OUTPUT * input, 7),
        drawn(ROWS * OUTPUT, 8),
    );
    let device = bench.device.clone().autodiff();
    let on_x = tensor(&x, [ROWS, input], &device).require_grad();
    let on_weight = tensor(&weight, [OUTPUT, input], &device).require_grad();
    let output = of(on_x.clone(), on_weight.clone());
    let gradients = (output.clone() * tensor(&upstream, [ROWS, OUTPUT], &device))
        .sum()
        .backward();
    let gradient = |leaf: &Tensor<2>| leaf.grad(&gradients).map(values).context("no gradient");

    let round = |values: &[f64]| values.iter().map(|&value| rounded(value)).collect::<Vec<_>>();
    let (x, weight, upstream) = (round(&x), round(&weight), round(&upstream));
    for (part, found, expected) in [
        (
            "value",
            values(output),
            product(&x, &transposed(&weight, input), [ROWS, input, OUTPUT]),
        ),
        (
            "gradient of the input",
            gradient(&on_x)?,
            product(&upstream, &weight, [ROWS, OUTPUT, input]),
        ),
        (
            "gradient of the weight",
            gradient(&on_weight)?,
            product(&transposed(&upstream, OUTPUT), &x, [OUTPUT, ROWS, input]),
        ),
    ] {
        report.compare(&format!("{name}: {part}"), &found, &expected, F32)?;
    }
    Ok(())
}

/// `a b` in f64.
fn product(a: &[f64], b: &[f64], [rows, inner, columns]: [usize; 3]) -> Vec<f64> {
    let mut sums = vec![0.0; rows * columns];
    for (sums, a) in sums.chunks_mut(columns).zip(a.chunks(inner)) {
        for (a, b) in a.iter().zip(b.chunks(columns)) {
            sums.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
        }
    }
    sums
}

/// Transposes a row-major matrix with `columns` columns.
fn transposed(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns)
        .flat_map(|column| values.iter().skip(column).step_by(columns).copied())
        .collect()
}
