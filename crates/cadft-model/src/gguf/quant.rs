//! The block formats of GGML, dequantised to f32.
//!
//! Each format stores blocks of 32 or 256 weights. In the formulas, `d` and `m` are f16 scales of the block, `q` the
//! small integer of one weight, `s` and `o` the small scale and offset of a group of 16 or 32 weights.

use half::{bf16, f16};
use rayon::prelude::*;

/// The storage type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GgmlType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// A type: its id in the file, its name, weights and bytes per block, and the decoder of a block.
type Row = (GgmlType, u32, &'static str, usize, usize, fn(&[u8], &mut [f32]));

const TYPES: [Row; 13] = [
    (GgmlType::F32, 0, "F32", 1, 4, f32_block),
    (GgmlType::F16, 1, "F16", 1, 2, f16_block),
    (GgmlType::Bf16, 30, "BF16", 1, 2, bf16_block),
    (GgmlType::Q4_0, 2, "Q4_0", 32, 18, q4_0),
    (GgmlType::Q4_1, 3, "Q4_1", 32, 20, q4_1),
    (GgmlType::Q5_0, 6, "Q5_0", 32, 22, q5_0),
    (GgmlType::Q5_1, 7, "Q5_1", 32, 24, q5_1),
    (GgmlType::Q8_0, 8, "Q8_0", 32, 34, q8_0),
    (GgmlType::Q2K, 10, "Q2_K", 256, 84, q2_k),
    (GgmlType::Q3K, 11, "Q3_K", 256, 110, q3_k),
    (GgmlType::Q4K, 12, "Q4_K", 256, 144, q4_k),
    (GgmlType::Q5K, 13, "Q5_K", 256, 176, q5_k),
    (GgmlType::Q6K, 14, "Q6_K", 256, 210, q6_k),
];

impl GgmlType {
    pub(super) fn from_id(id: u32) -> Result<Self, String> {
        TYPES
            .iter()
            .find(|row| row.1 == id)
            .map(|row| row.0)
            .ok_or_else(|| {
                let names: Vec<_> = TYPES.iter().map(|row| format!("`{}`", row.2)).collect();
                format!("type id `{id}`; supported: {}", names.join(", "))
            })
    }

    pub(super) fn id(self) -> u32 {
        self.row().1
    }

    fn row(self) -> &'static Row {
        &TYPES[self as usize]
    }

    pub(super) fn name(self) -> &'static str {
        self.row().2
    }

    /// Stored bytes of a shape; `None` if its rows are not a whole number of blocks, or on overflow.
    pub(super) fn bytes(self, shape: &[usize]) -> Option<usize> {
        let &(_, _, _, weights, bytes, _) = self.row();
        let elements = shape
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size))?;
        let fits = shape.last().is_some_and(|width| width.is_multiple_of(weights));
        fits.then_some(elements / weights)?.checked_mul(bytes)
    }

    /// Decodes whole blocks.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let &(_, _, _, weights, block_bytes, decode) = self.row();
        let mut values = vec![0.0; bytes.len() / block_bytes * weights];
        values
            .par_chunks_mut(weights)
            .zip(bytes.par_chunks(block_bytes))
            .with_min_len(4096 / weights)
            .for_each(|(values, block)| decode(block, values));
        values
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn f32_block(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

fn f16_block(block: &[u8], out: &mut [f32]) {
    out[0] = half_at(block, 0);
}

fn bf16_block(block: &[u8], out: &mut [f32]) {
    out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32();
}

/// `d (q − 8)`: d, 32 × 4 bits.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, q) in block[2..18].iter().enumerate() {
        out[i] = d * (f32::from(q & 15) - 8.0);
        out[i + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// `d q + m`: d, m, 32 × 4 bits.
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, q) in block[4..20].iter().enumerate() {
        out[i] = d * f32::from(q & 15) + m;
        out[i + 16] = d * f32::from(q >> 4) + m;
    }
}

/// The 5-bit integers of a block: 32 high bits, then 32 × 4 low bits.
fn five_bits(bits: &[u8], out: &mut [f32]) {
    let high = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
    let with_high = |low: u8, i: usize| f32::from(low) + if high >> i & 1 == 1 { 16.0 } else { 0.0 };
    for (i, q) in bits[4..20].iter().enumerate() {
        out[i] = with_high(q & 15, i);
        out[i + 16] = with_high(q >> 4, i + 16);
    }
}

/// `d (q − 16)`: d, 32 × 5 bits.
fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    five_bits(&block[2..22], out);
    out.iter_mut().for_each(|value| *value = d * (*value - 16.0));
}

/// `d q + m`: d, m, 32 × 5 bits.
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    five_bits(&block[4..24], out);
    out.iter_mut().for_each(|value| *value = d * *value + m);
}

/// `d q`: d, 32 × 8 bits, signed.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (value, q) in out.iter_mut().zip(&block[2..34]) {
        *value = d * f32::from(q.cast_signed());
    }
}

/// The 2-bit integers of 256 weights: byte `32 n + l` holds weights `128 n + 32 j + l` for j = 0..4.
fn two_bits(quants: &[u8], i: usize) -> u8 {
    quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// `d s q − m o`: 16 × (s, o) of 4 bits each, 256 × 2 bits, d, m.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, m) = (half_at(block, 80), half_at(block, 82));
    for (i, value) in out.iter_mut().enumerate() {
        let scale = scales[i / 16];
        *value = d * f32::from(scale & 15) * f32::from(two_bits(quants, i)) - m * f32::from(scale >> 4);
    }
}

/// `d (s − 32) (q − 4)`: 256 high bits, 256 × 2 low bits, 16 × s of 6 bits, d.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    let scale = |group: usize| {
        let low = if group < 8 {
            scales[group] & 15
        } else {
            scales[group - 8] >> 4
        };
        let top = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        f32::from(low | top << 4) - 32.0
    };
    for (i, value) in out.iter_mut().enumerate() {
        let top = high[i % 32] >> (i / 32) & 1;
        let q = f32::from(two_bits(quants, i) | top << 2) - 4.0;
        *value = d * scale(i / 16) * q;
    }
}

/// The eight 6-bit scales and offsets that Q4_K and Q5_K pack into 12 bytes.
fn scale_and_offset(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, offset) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (
            packed[group + 4] & 15 | packed[group - 4] >> 6 << 4,
            packed[group + 4] >> 4 | packed[group] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(offset))
}

/// The low four bits of 256 weights: byte `32 n + l` holds weights `64 n + l` and `64 n + 32 + l`.
fn low_four_bits(quants: &[u8], i: usize) -> u8 {
    quants[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15
}

/// `d s q − m o`: d, m, 8 × (s, o) of 6 bits each, 256 × 4 bits.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, value) in out.iter_mut().enumerate() {
        let (scale, offset) = scale_and_offset(&block[4..16], i / 32);
        *value = d * scale * f32::from(low_four_bits(&block[16..144], i)) - m * offset;
    }
}

/// `d s q − m o`: d, m, 8 × (s, o) of 6 bits each, 256 high bits, 256 × 4 low bits.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let (high, quants) = (&block[16..48], &block[48..176]);
    for (i, value) in out.iter_mut().enumerate() {
        let (scale, offset) = scale_and_offset(&block[4..16], i / 32);
        let top = high[i % 32] >> (i / 32) & 1;
        *value = d * scale * f32::from(low_four_bits(quants, i) | top << 4) - m * offset;
    }
}

/// `d s (q − 32)`: 256 × 4 low bits, 256 × 2 high bits, 16 × s of 8 bits, signed, d.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (i, value) in out.iter_mut().enumerate() {
        let nibble = low[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        let q = f32::from(nibble | two_bits(high, i) << 4) - 32.0;
        *value = d * f32::from(scales[i / 16].cast_signed()) * q;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a zero block into which `f16` values and bytes were written.
    fn decode(kind: GgmlType, halves: &[(usize, f32)], bytes: &[(usize, u8)]) -> Vec<f32> {
        let &(_, _, _, _, size, _) = kind.row();
        let mut block = vec![0; size];
        for &(at, value) in halves {
            block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
        }
        for &(at, value) in bytes {
            block[at] = value;
        }
        kind.decode(&block)
    }

    #[track_caller]
    fn check(found: &[f32], expected: &[(usize, f32)]) {
        for &(index, value) in expected {
            assert_eq!(found[index], value, "weight {index}");
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        for (index, row) in TYPES.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(GgmlType::from_id(row.1), Ok(row.0));
        }
        assert!(GgmlType::from_id(9).unwrap_err().contains("`9`"));
    }

    #[test]
    fn plain_types_are_read_as_they_are() {
        check(&GgmlType::F32.decode(&1.5f32.to_le_bytes()), &[(0, 1.5)]);
        check(
            &GgmlType::F16.decode(&f16::from_f32(-2.5).to_le_bytes()),
            &[(0, -2.5)],
        );
        check(
            &GgmlType::Bf16.decode(&bf16::from_f32(3.0).to_le_bytes()),
            &[(0, 3.0)],
        );
    }

    #[test]
    fn blocks_of_32_match_values_worked_out_by_hand() {
        let q4_0 = decode(GgmlType::Q4_0, &[(0, 0.5)], &[(2, 0x8f), (3, 0x01)]);
        check(&q4_0, &[(0, 3.5), (16, 0.0), (1, -3.5), (17, -4.0)]);
        let q4_1 = decode(GgmlType::Q4_1, &[(0, 0.5), (2, -1.0)], &[(4, 0x8f)]);
        check(&q4_1, &[(0, 6.5), (16, 3.0), (1, -1.0)]);
        // High bits of weights 0 and 17.
        let q5_0 = decode(
            GgmlType::Q5_0,
            &[(0, 2.0)],
            &[(2, 1), (4, 2), (6, 0x21), (7, 0x30)],
        );
        check(&q5_0, &[(0, 2.0), (16, -28.0), (1, -32.0), (17, 6.0)]);
        let q5_1 = decode(
            GgmlType::Q5_1,
            &[(0, 2.0), (2, 1.0)],
            &[(4, 1), (6, 2), (8, 0x21), (9, 0x30)],
        );
        check(&q5_1, &[(0, 35.0), (16, 5.0), (1, 1.0), (17, 39.0)]);
        let q8_0 = decode(GgmlType::Q8_0, &[(0, 0.25)], &[(2, 0x80), (33, 127)]);
        check(&q8_0, &[(0, -32.0), (31, 31.75)]);
    }

    #[test]
    fn q2_k_and_q3_k_match_values_worked_out_by_hand() {
        let scales = [(0, 0x31), (6, 0x1f), (9, 0x02)];
        let quants = [(16, 0b10), (16 + 5, 0b0100_0000), (16 + 48, 0b11)];
        let q2_k = decode(
            GgmlType::Q2K,
            &[(80, 0.5), (82, 0.25)],
            &[&scales[..], &quants].concat(),
        );
        // 0.5·1·2 − 0.25·3, 0.5·15·1 − 0.25·1, 0.5·2·3.
        check(&q2_k, &[(0, 0.25), (101, 7.25), (144, 3.0)]);
        let high = [(0, 1)];
        let quants = [(32, 0b11), (32 + 48, 0b01_0000)];
        let scales = [(96, 5), (96 + 8, 2), (96 + 5, 0x40), (96 + 9, 0b0100_0000)];
        let q3_k = decode(
            GgmlType::Q3K,
            &[(108, 0.5)],
            &[&high[..], &quants, &scales].concat(),
        );
        // 0.5·(5 + 32 − 32)·(3 + 4 − 4), 0.5·(4 + 16 − 32)·(1 − 4).
        check(&q3_k, &[(0, 7.5), (208, 18.0)]);
    }

    #[test]
    fn q4_k_to_q6_k_match_values_worked_out_by_hand() {
        let halves = [(0, 0.5), (2, 0.25)];
        // Group 0: s = 7, o = 3. Group 5: s = 1 + 32, o = 2 + 16.
        let scales = [
            (4, 7),
            (4 + 4, 3),
            (4 + 9, 0x21),
            (4 + 1, 0b1000_0000),
            (4 + 5, 0b0100_0000),
        ];
        let q4_k = decode(
            GgmlType::Q4K,
            &halves,
            &[&scales[..], &[(16, 9), (16 + 64, 0x30)]].concat(),
        );
        check(&q4_k, &[(0, 30.75), (160, 45.0)]);
        let quants = [(48, 9), (48 + 64, 0x30), (16, 0b10_0000)];
        let q5_k = decode(GgmlType::Q5K, &halves, &[&scales[..], &quants].concat());
        check(&q5_k, &[(0, 30.75), (160, 309.0)]);
        let quants = [(0, 5), (72, 0x70), (128, 2), (128 + 40, 0b01_0000)];
        let scales = [(192, (-3i8).cast_unsigned()), (192 + 12, 4)];
        let q6_k = decode(GgmlType::Q6K, &[(208, 0.5)], &[&quants[..], &scales].concat());
        // 0.5·(−3)·(5 + 32 − 32), 0.5·4·(7 + 16 − 32).
        check(&q6_k, &[(0, -7.5), (200, -18.0)]);
    }

    #[test]
    fn rows_must_be_whole_blocks() {
        assert_eq!(GgmlType::Q4_0.bytes(&[3, 64]), Some(3 * 2 * 18));
        assert_eq!(GgmlType::Q4_0.bytes(&[64, 3]), None);
        assert_eq!(GgmlType::F32.bytes(&[usize::MAX, 2]), None);
    }
}
