//! Peak memory of the fused likelihood, forward and backward, measured in a separate process: `cargo xtask bench
//! memory`.
//!
//! Prints one JSON object; `ratio` is the growth of resident memory, divided by inputs + gradients + one chunk of
//! logits.

use burn::tensor::{Int, Tensor, TensorData};
use cadft_core::{ChunkSize, Precision, linear_log_probs};
use std::fs;

const TOKENS: usize = 8192;
const HIDDEN: usize = 576;
const VOCAB: usize = 49_152;

/// A value of `/proc/self/status`, in MiB.
fn status_mib(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("this measurement needs Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .expect("a known key");
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<f64>()
        .expect("a number")
        / 1024.0
}

fn main() {
    let device = cadft_train::device::parse("flex")
        .expect("flex is compiled")
        .autodiff();
    // Start the threads, with their stacks, before the measurement.
    let warm = Tensor::<2>::ones([64, 64], &device);
    let _ = warm.clone().matmul(warm).into_data();
    let before = status_mib("VmRSS");

    let matrix = |rows: usize| {
        let values: Vec<f32> = (0..rows * HIDDEN)
            .map(|i| ((i * 7919) % 1013) as f32 * 1e-4 - 0.05)
            .collect();
        Tensor::<2>::from_data(TensorData::new(values, [rows, HIDDEN]), &device).require_grad()
    };
    let (hidden, weight) = (matrix(TOKENS), matrix(VOCAB));
    let targets: Vec<i64> = (0..TOKENS).map(|i| ((i * 31) % VOCAB) as i64).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [TOKENS]), &device);
    let grads = linear_log_probs(hidden.clone(), weight.clone(), targets, Precision::F32)
        .mean()
        .neg()
        .backward();
    let kept = (hidden.grad(&grads), weight.grad(&grads));
    assert!(kept.0.is_some() && kept.1.is_some(), "both gradients are made");

    let peak = status_mib("VmHWM") - before;
    let mib = |values: usize| values as f64 * 4.0 / f64::from(1 << 20);
    let chunk = mib(ChunkSize::Auto.rows(VOCAB) * VOCAB);
    let needed = 2.0 * mib((TOKENS + VOCAB) * HIDDEN) + chunk;
    println!(
        "{}",
        serde_json::json!({
            "tokens": TOKENS, "hidden": HIDDEN, "vocab": VOCAB,
            "peak_mib": peak, "needed_mib": needed, "chunk_mib": chunk, "ratio": peak / needed,
            "logits_mib": mib(TOKENS * VOCAB),
        })
    );
}
