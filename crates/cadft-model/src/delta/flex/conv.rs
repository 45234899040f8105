//! The causal convolution and `SiLU`, row by row.

use burn::backend::TensorMetadata;
use cadft_kernels::cpu::vectorised;
use cadft_kernels::flex::{Float, contiguous, floats, tensor};
use rayon::prelude::*;

use crate::delta::Segments;
use crate::fused::sigmoid;

/// Tokens whose sums for the gradient of the weight are taken together.
const BLOCK: usize = 64;

/// `[tokens, channels]`.
pub(in crate::delta) fn forward(x: Float, weight: Float, segments: &Segments) -> Float {
    let (x, weight) = (contiguous(x), contiguous(weight));
    let conv = Conv::new(&x, &weight, segments);
    let mut out = vec![0.0; conv.x.len()];
    out.par_chunks_mut(conv.channels)
        .enumerate()
        .for_each(|(token, out)| {
            conv.sums(token, out);
            vectorised(
                #[inline(always)]
                || out.iter_mut().for_each(|z| *z *= sigmoid(*z)),
            );
        });
    tensor(out, x.shape().dims::<2>())
}

/// The gradients of `x` and the weight.
pub(in crate::delta) fn backward(x: Float, weight: Float, grad: Float, segments: &Segments) -> [Float; 2] {
    let (x, weight, grad) = (contiguous(x), contiguous(weight), contiguous(grad));
    let conv = Conv::new(&x, &weight, segments);
    let (channels, kernel) = (conv.channels, conv.taps.len() / conv.channels);
    let mut inner = vec![0.0; conv.x.len()]; // the gradients of the sums
    inner
        .par_chunks_mut(channels)
        .zip(floats(&grad).par_chunks(channels))
        .enumerate()
        .for_each(|(token, (inner, grad))| {
            conv.sums(token, inner);
            vectorised(
                #[inline(always)]
                || {
                    for (z, grad) in inner.iter_mut().zip(grad) {
                        let s = sigmoid(*z);
                        *z = grad * s * (1.0 + *z * (1.0 - s));
                    }
                },
            );
        });
    let mut d_x = vec![0.0; conv.x.len()];
    d_x.par_chunks_mut(channels).enumerate().for_each(|(token, d_x)| {
        for back in 0..kernel.min(conv.ends[token] - token) {
            let taps = &conv.taps[(kernel - 1 - back) * channels..][..channels];
            add_product(d_x, taps, &inner[(token + back) * channels..][..channels]);
        }
    });
    let parts: Vec<Vec<f32>> = (inner.par_chunks(BLOCK * channels).enumerate())
        .map(|(block, inner)| {
            let mut d_taps = vec![0.0; kernel * channels];
            for (index, inner) in inner.chunks(channels).enumerate() {
                let token = block * BLOCK + index;
                for back in 0..kernel.min(token - conv.starts[token] + 1) {
                    let d_taps = &mut d_taps[(kernel - 1 - back) * channels..][..channels];
                    add_product(d_taps, inner, &conv.x[(token - back) * channels..][..channels]);
                }
            }
            d_taps
        })
        .collect();
    let mut d_weight = vec![0.0; kernel * channels];
    for part in parts {
        for (tap, part) in part.chunks(channels).enumerate() {
            for (channel, part) in part.iter().enumerate() {
                d_weight[channel * kernel + tap] += part;
            }
        }
    }
    [
        tensor(d_x, x.shape().dims::<2>()),
        tensor(d_weight, [channels, kernel]),
    ]
}

struct Conv<'a> {
    x: &'a [f32],
    channels: usize,
    /// The weight with the channels next to each other, `[kernel, channels]`.
    taps: Vec<f32>,
    /// For each token the first one of its sample, and the one after its last.
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl<'a> Conv<'a> {
    fn new(x: &'a Float, weight: &Float, segments: &Segments) -> Self {
        let [channels, kernel] = weight.shape().dims::<2>();
        let weight = floats(weight);
        let taps =
            (0..kernel).flat_map(|tap| (0..channels).map(move |channel| weight[channel * kernel + tap]));
        let (mut starts, mut ends) = (vec![], vec![]);
        for range in segments.ranges() {
            starts.extend(range.clone().map(|_| range.start));
            ends.extend(range.clone().map(|_| range.end));
        }
        Self {
            x: floats(x),
            channels,
            taps: taps.collect(),
            starts,
            ends,
        }
    }

    /// The sums of a token before `SiLU`, into zeros.
    fn sums(&self, token: usize, out: &mut [f32]) {
        let (channels, kernel) = (self.channels, self.taps.len() / self.channels);
        let held = (token - self.starts[token] + 1).min(kernel);
        for back in (0..held).rev() {
            let taps = &self.taps[(kernel - 1 - back) * channels..][..channels];
            add_product(out, taps, &self.x[(token - back) * channels..][..channels]);
        }
    }
}

/// `sum += a · b`.
fn add_product(sum: &mut [f32], a: &[f32], b: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        },
    );
}
