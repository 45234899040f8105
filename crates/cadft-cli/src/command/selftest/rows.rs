//! Sums over rows and selections of rows, large enough for several threads, against f64 on the host. Also gated units:
//! rounded to bf16 for the next product against rounded by that product.

use super::Bench;
use super::arrays::{drawn, tensor, values};
use super::report::Report;
use crate::tolerance::{EXACT, F32};
use anyhow::{Context, Result};
use burn::module::Param;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use cadft_kernels::bf16_linear;
use cadft_model::ParamGradients;
use cadft_model::decoder::Precision;
use cadft_model::fused::{Activation, add_bias, gated, select_rows};
use cadft_step::clip::squares;

/// More than twice the number of rows that threads sum at once.
const ROWS: usize = 4500;
const COLUMNS: usize = 40;
/// Wider than a workgroup.
const WIDE: usize = 300;
/// Number of rows to select from; smaller than the number of selected rows.
const TABLE: usize = 50;
const SELECTED: usize = 700;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let device = bench.device.clone().autodiff();
    bias(&device, report)?;
    selection(&device, report)?;
    let value = drawn(SELECTED * WIDE, 13);
    let param = Param::from_tensor(tensor(&value, [SELECTED, WIDE], &bench.device));
    let mut gradients = ParamGradients::new();
    gradients.register(param.id, param.val());
    let found = squares(&param, &gradients).context("no gradient")?;
    let expected: f64 = value.iter().map(|value| value * value).sum();
    report.compare("sum of squares", &values(found), &[expected], F32)?;
    if bench.device.supports_dtype(DType::BF16) {
        let found = gated_gradients(&device, Precision::Bf16)?;
        let expected = gated_gradients(&device, Precision::F32)?;
        report.compare("gated units as factors", &found, &expected, EXACT)?;
    }
    Ok(())
}

/// The gradient of a bias that is added to all rows.
fn bias(device: &Device, report: &mut Report) -> Result<()> {
    let (x, bias, upstream) = (
        drawn(ROWS * COLUMNS, 9),
        drawn(COLUMNS, 10),
        drawn(ROWS * COLUMNS, 11),
    );
    let on_bias = tensor(&bias, [COLUMNS], device).require_grad();
    let output = add_bias(tensor(&x, [ROWS, COLUMNS], device), on_bias.clone());
    let gradients = (output.clone() * tensor(&upstream, [ROWS, COLUMNS], device))
        .sum()
        .backward();
    let mut sums = vec![0.0; COLUMNS];
    for row in upstream.chunks(COLUMNS) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let expected: Vec<f64> = x.iter().zip(bias.iter().cycle()).map(|(x, b)| x + b).collect();
    report.compare("bias: value", &values(output), &expected, F32)?;
    let found = on_bias.grad(&gradients).context("no gradient")?;
    report.compare("bias: gradient", &values(found), &sums, F32)
}

/// Selects rows of a table, most of them several times.
fn selection(device: &Device, report: &mut Report) -> Result<()> {
    let (table, upstream) = (drawn(TABLE * WIDE, 12), drawn(SELECTED * WIDE, 14));
    // The last rows are never selected.
    let ids: Vec<usize> = (0..SELECTED).map(|at| at * at % (TABLE - 3)).collect();
    let on_table = tensor(&table, [TABLE, WIDE], device).require_grad();
    let data = TensorData::new(ids.iter().map(|&id| id as i64).collect(), [SELECTED]);
    let output = select_rows(on_table.clone(), Tensor::<1, Int>::from_data(data, device));
    let gradients = (output.clone() * tensor(&upstream, [SELECTED, WIDE], device))
        .sum()
        .backward();
    let (mut selected, mut sums) = (vec![], vec![0.0; TABLE * WIDE]);
    for (&id, upstream) in ids.iter().zip(upstream.chunks(WIDE)) {
        let row = id * WIDE..(id + 1) * WIDE;
        selected.extend_from_slice(&table[row.clone()]);
        sums[row]
            .iter_mut()
            .zip(upstream)
            .for_each(|(sum, value)| *sum += value);
    }
    report.compare("selected rows: value", &values(output), &selected, EXACT)?;
    let found = on_table.grad(&gradients).context("no gradient")?;
    report.compare("selected rows: gradient", &values(found), &sums, F32)
}

/// The output of a feed-forward block with bf16 products, and the gradients of its input and weights, concatenated.
fn gated_gradients(device: &Device, precision: Precision) -> Result<Vec<f64>> {
    let [rows, size, inner] = [70, 96, 130];
    let leaf =
        |shape: [usize; 2], seed| tensor(&drawn(shape[0] * shape[1], seed), shape, device).require_grad();
    let leaves = [
        leaf([rows, size], 15),
        leaf([inner, size], 16),
        leaf([inner, size], 17),
        leaf([size, inner], 18),
    ];
    let [x, gate, up, down] = leaves.clone();
    let project = |weight| bf16_linear(x.clone(), weight).reshape([1, rows, inner]);
    let units = gated(Activation::Silu, project(gate), project(up), precision);
    let output = bf16_linear(units.reshape([rows, inner]), down);
    let gradients = (output.clone() * tensor(&drawn(rows * size, 19), [rows, size], device))
        .sum()
        .backward();
    let mut all = values(output);
    for leaf in leaves {
        all.extend(values(leaf.grad(&gradients).context("no gradient")?));
    }
    Ok(all)
}
