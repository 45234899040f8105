//! Encodes weights in the block formats of GGML.
//!
//! The bytes are those of llama.cpp's reference quantisers without an importance matrix. So the order of each sum, each
//! division and each rounding is fixed. This file has the formats with blocks of up to 32 weights.

use half::bf16;
use rayon::prelude::*;

use super::quant::GgmlType;
use super::quantise_k::{self, extreme, low_byte, put_half};

/// Weights and bytes per block, and the function that fills the bytes of a block.
type Encoder = (usize, usize, fn(&[f32], &mut [u8]));

/// Encodes whole blocks. `None` if the type has no encoder or the last block is not full.
pub(super) fn encode(kind: GgmlType, values: &[f32]) -> Option<Vec<u8>> {
    let (weights, block_bytes, encode) = encoder(kind)?;
    if !values.len().is_multiple_of(weights) {
        return None;
    }
    let mut bytes = vec![0; values.len() / weights * block_bytes];
    bytes
        .par_chunks_mut(block_bytes)
        .zip(values.par_chunks(weights))
        .with_min_len(4096 / weights)
        .for_each(|(block, weights)| encode(weights, block));
    Some(bytes)
}

fn encoder(kind: GgmlType) -> Option<Encoder> {
    Some(match kind {
        GgmlType::F32 => (1, 4, |w, out| out.copy_from_slice(&w[0].to_le_bytes())),
        GgmlType::F16 => (1, 2, |w, out| put_half(out, w[0])),
        GgmlType::Bf16 => (1, 2, |w, out| {
            out.copy_from_slice(&bf16::from_f32(w[0]).to_le_bytes());
        }),
        GgmlType::Q4_0 => (32, 18, q4_0),
        GgmlType::Q5_0 => (32, 22, q5_0),
        GgmlType::Q5_1 => (32, 24, q5_1),
        GgmlType::Q8_0 => (32, 34, q8_0),
        GgmlType::Q4K => (256, 144, quantise_k::q4_k),
        GgmlType::Q5K => (256, 176, quantise_k::q5_k),
        GgmlType::Q6K => (256, 210, quantise_k::q6_k),
        GgmlType::Q4_1 | GgmlType::Q2K | GgmlType::Q3K => return None,
    })
}

/// The low byte of the whole part. What is no i32 gives 0, as on x86; blocks that tiny decode to 0 anyhow.
fn whole(value: f32) -> u8 {
    if value.abs() < 1e9 {
        #[expect(clippy::cast_possible_truncation, reason = "in the range of i32")]
        low_byte(value as i32)
    } else {
        0
    }
}

/// `1 / scale`, or 0 for a block of zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// `d = extreme / −8`, `q = w / d + 8`.
fn q4_0(weights: &[f32], out: &mut [u8]) {
    let scale = extreme(weights) / -8.0;
    let inverse = inverse(scale);
    let quant = |weight: f32| whole(weight * inverse + 8.5).min(15);
    put_half(out, scale);
    for (i, byte) in out[2..].iter_mut().enumerate() {
        *byte = quant(weights[i]) | quant(weights[i + 16]) << 4;
    }
}

/// `d = extreme / −16`, `q = w / d + 16`.
fn q5_0(weights: &[f32], out: &mut [u8]) {
    let scale = extreme(weights) / -16.0;
    let inverse = inverse(scale);
    put_half(out, scale);
    five_bits(weights, &mut out[2..], |weight| {
        whole(weight * inverse + 16.5).min(31)
    });
}

/// `m = min`, `d = (max − min) / 31`, `q = (w − m) / d`.
fn q5_1(weights: &[f32], out: &mut [u8]) {
    // Of the two zeros the first counts.
    let least = weights.iter().fold(f32::MAX, |a, &b| if b < a { b } else { a });
    let most = weights.iter().fold(f32::MIN, |a, &b| if b > a { b } else { a });
    let scale = (most - least) / 31.0;
    let inverse = inverse(scale);
    put_half(out, scale);
    put_half(&mut out[2..], least);
    five_bits(weights, &mut out[4..], |weight| {
        whole((weight - least) * inverse + 0.5)
    });
}

/// The 5-bit integers of a block: 32 high bits, then 32 × 4 low bits.
fn five_bits(weights: &[f32], out: &mut [u8], quant: impl Fn(f32) -> u8) {
    let mut high = 0;
    for i in 0..16 {
        let (first, second) = (quant(weights[i]), quant(weights[i + 16]));
        out[4 + i] = first & 15 | (second & 15) << 4;
        high |= u32::from(first >> 4 & 1) << i | u32::from(second >> 4 & 1) << (i + 16);
    }
    out[..4].copy_from_slice(&high.to_le_bytes());
}

/// `d = max|w| / 127`, `q = w / d`.
fn q8_0(weights: &[f32], out: &mut [u8]) {
    let scale = extreme(weights).abs() / 127.0;
    let inverse = inverse(scale);
    put_half(out, scale);
    for (byte, weight) in out[2..].iter_mut().zip(weights) {
        *byte = whole((weight * inverse).round());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 256 weights of ten families. `compare.py` has the same generator.
    fn sample(rows: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut bits = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u32
        };
        let mut values = vec![];
        for row in 0..rows {
            let mut constant = 0.0;
            for column in 0..256 {
                let number = bits();
                let uniform = number as f32 / 8_388_608.0 - 1.0;
                if column == 0 {
                    constant = uniform;
                }
                values.push(match row % 10 {
                    1 => uniform * uniform * uniform,
                    2 => 0.0,
                    3 => constant,
                    4 => uniform.abs(),
                    5 => -uniform.abs(),
                    6 => uniform * 2f32.powi(-100),
                    7 if column == 77 => uniform * 1000.0,
                    8 => (number % 33) as f32 / 16.0 - 1.0,
                    9 if column % 64 < 32 => uniform / 256.0,
                    _ => uniform,
                });
            }
        }
        values
    }

    /// FNV-1a.
    fn digest(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn bytes_are_those_of_llama_cpp() {
        let expected = [
            (GgmlType::Q4_0, 0xf4bb_b043_f776_7532),
            (GgmlType::Q5_0, 0x10fd_41ef_20d6_2ec3),
            (GgmlType::Q5_1, 0xf122_dae4_801e_6194),
            (GgmlType::Q8_0, 0x8d70_6f90_16df_4ae3),
            (GgmlType::Q4K, 0xd2d6_12c2_94c0_c72c),
            (GgmlType::Q5K, 0x187b_76c7_88e9_d4b5),
            (GgmlType::Q6K, 0x4d12_6552_64ee_db9b),
        ];
        let values = sample(1000);
        for (kind, expected) in expected {
            let bytes = encode(kind, &values).unwrap();
            assert_eq!(digest(&bytes), expected, "{}", kind.name());
        }
    }

    #[test]
    fn a_block_of_q4_0_and_of_q8_0_are_those_of_llama_cpp() {
        let weights: Vec<f32> = (0..32u8).map(|i| f32::from(i) / 8.0 - 1.5).collect();
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(encode(GgmlType::Q4_0, &weights).unwrap()),
            "c0b46d6d5c5c5b4b4b3a3a39292818180707"
        );
        assert_eq!(
            hex(encode(GgmlType::Q8_0, &weights).unwrap()),
            "ca24b0b6bdc4cbd1d8dfe5ecf3f900070d141b21282f353c434a50575e646b72787f"
        );
    }

    #[test]
    fn decoded_weights_are_near() {
        // The largest error as a part of the row's largest magnitude.
        let bounds = [
            (GgmlType::F32, 0.0),
            (GgmlType::F16, 0.0005),
            (GgmlType::Bf16, 0.004),
            (GgmlType::Q4_0, 0.126),
            (GgmlType::Q5_0, 0.063),
            (GgmlType::Q5_1, 0.034),
            (GgmlType::Q8_0, 0.005),
            (GgmlType::Q4K, 0.1),
            (GgmlType::Q5K, 0.08),
            (GgmlType::Q6K, 0.035),
        ];
        let values = sample(200);
        for (kind, bound) in bounds {
            let decoded = kind.decode(&encode(kind, &values).unwrap());
            assert_eq!(decoded.len(), values.len());
            for (row, (weights, decoded)) in values.chunks(256).zip(decoded.chunks(256)).enumerate() {
                let largest = extreme(weights).abs();
                // The scales of tiny weights are no f16.
                let bound = if row % 10 == 6 { largest } else { bound * largest };
                for (weight, decoded) in weights.iter().zip(decoded) {
                    let error = (weight - decoded).abs();
                    assert!(error <= bound, "{} row {row}: {weight} as {decoded}", kind.name());
                }
            }
        }
    }

    #[test]
    fn extreme_weights_do_not_panic() {
        let patterns = [
            f32::MAX,
            f32::MIN,
            f32::from_bits(1),
            f32::INFINITY,
            3e38,
            -1e-45,
            f32::NAN,
        ];
        for kind in [
            GgmlType::Q4_0,
            GgmlType::Q5_1,
            GgmlType::Q8_0,
            GgmlType::Q4K,
            GgmlType::Q5K,
            GgmlType::Q6K,
        ] {
            for first in patterns {
                for second in patterns {
                    let mut values = vec![first; 256];
                    values.iter_mut().step_by(3).for_each(|value| *value = second);
                    assert!(encode(kind, &values).is_some());
                }
            }
        }
    }

    #[test]
    fn only_whole_blocks_of_known_encoders_are_encoded() {
        assert_eq!(encode(GgmlType::Q4K, &[0.0; 32]), None);
        assert_eq!(encode(GgmlType::Q2K, &[0.0; 256]), None);
        assert_eq!(encode(GgmlType::Q8_0, &[]), Some(vec![]));
    }
}
