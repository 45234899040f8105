//! The memory of attention in training. This test has a separate program because it measures the peak of its process.
#![cfg(all(feature = "flex", target_os = "linux"))]

use std::fs;

use burn::tensor::{Device, Distribution, Tensor};
use cadft_model::decoder::Precision;
use cadft_model::fused::{AttentionInput, AttentionOptions, causal_attention};

const SEQ: usize = 4096;
const HEADS: usize = 8;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;

/// A value from `/proc/self/status`, in bytes.
fn status(key: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let kib: usize = line
        .trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

#[test]
fn training_never_holds_the_scores_of_a_head() {
    let device = Device::flex().autodiff();
    let attend = |seq: usize| {
        let leaf = |heads: usize| {
            let shape = [1, seq, heads * HEAD_DIM];
            Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
        };
        let (query, key, value) = (leaf(HEADS), leaf(KV_HEADS), leaf(KV_HEADS));
        let output = causal_attention(AttentionInput {
            query: query.clone(),
            key: key.clone(),
            value: value.clone(),
            rotation: None,
            options: AttentionOptions {
                head_dim: HEAD_DIM,
                scale: 0.25,
                softcap: None,
                window: None,
                starts: None,
                precision: Precision::F32,
            },
        });
        let gradients = output.square().sum().backward();
        for leaf in [&query, &key, &value] {
            assert!(
                leaf.grad(&gradients)
                    .unwrap()
                    .is_finite()
                    .all()
                    .into_scalar::<bool>()
            );
        }
    };
    attend(64); // creates threads and their stacks before the measurement
    let before = status("VmRSS");
    attend(SEQ);
    let grown = status("VmHWM") - before;
    let one_head = SEQ * SEQ * size_of::<f32>();
    assert!(
        grown < one_head,
        "grew by {grown} bytes; the scores of one head are {one_head}, of all {HEADS} times that"
    );
    println!("grew by {} MiB", grown >> 20);
}
