//! Encodes blocks of 256 weights: Q4_K, Q5_K and Q6_K.
//!
//! Each group of 16 or 32 weights gets the scale with the least weighted error among a few. The scales of the groups
//! are then rounded, and the weights are rounded again with those.

use half::f16;

/// Groups whose weights are all smaller are zero.
const SMALLEST: f32 = 1e-15;

/// Writes a scale, rounded to f16.
pub(super) fn put_half(out: &mut [u8], value: f32) {
    out[..2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// The low byte of an integer.
pub(super) fn low_byte(number: i32) -> u8 {
    number.to_le_bytes()[0]
}

/// The weight of the largest magnitude with its sign; of equal ones the first.
pub(super) fn extreme(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0f32, |extreme, &weight| {
        if weight.abs() > extreme.abs() {
            weight
        } else {
            extreme
        }
    })
}

/// The nearest integer, of ties the even one. Right up to 2²²; larger values give some integer in that range.
fn nearest(value: f32) -> i32 {
    let shifted = value + 12_582_912.0;
    (shifted.to_bits() & 0x007f_ffff).cast_signed() - 0x0040_0000
}

/// The scales that are tried for a group of Q4_K or Q5_K: `range / (levels + start + step / 10)`.
struct Search {
    levels: u8,
    start: f32,
    steps: u8,
}

const FOUR_BITS: Search = Search {
    levels: 15,
    start: -1.0,
    steps: 20,
};
const FIVE_BITS: Search = Search {
    levels: 31,
    start: -0.5,
    steps: 15,
};

/// A group of 32 weights as `scale q − offset`.
#[derive(Clone, Copy)]
struct Group {
    scale: f32,
    offset: f32,
    quants: [u8; 32],
}

impl Group {
    /// The sum of the squared errors times the importance of the weights.
    fn error(&self, weights: &[f32], importance: &[f32; 32]) -> f32 {
        let mut error = 0.0;
        for ((weight, importance), &quant) in weights.iter().zip(importance).zip(&self.quants) {
            let difference = self.scale * f32::from(quant) - self.offset - weight;
            error += importance * (difference * difference);
        }
        error
    }
}

/// The weighted sums of weights and quants that give the best line through them.
#[derive(Default)]
struct Sums {
    importance: f32,
    weight: f32,
    quant: f32,
    quant_squared: f32,
    product: f32,
}

impl Sums {
    /// The scale and the offset of least error. The offset is not negative.
    fn line(&self) -> Option<(f32, f32)> {
        let determinant = self.importance * self.quant_squared - self.quant * self.quant;
        if determinant.is_nan() || determinant <= 0.0 {
            return None;
        }
        let scale = (self.importance * self.product - self.weight * self.quant) / determinant;
        let least = (self.quant_squared * self.weight - self.quant * self.product) / determinant;
        Some(if least > 0.0 {
            (self.product / self.quant_squared, 0.0)
        } else {
            (scale, -least)
        })
    }
}

/// The best line for a group. Large weights are more important.
fn fit_line(weights: &[f32], search: &Search) -> Group {
    let squares = weights.iter().fold(0.0, |sum, weight| sum + weight * weight);
    let typical = (squares / 32.0f32).sqrt();
    let mut importance = [0.0; 32];
    let (mut total, mut weighted) = (0.0, 0.0);
    for (importance, weight) in importance.iter_mut().zip(weights) {
        *importance = typical + weight.abs();
        total += *importance;
        weighted += *importance * weight;
    }
    let least = weights.iter().copied().fold(0.0, f32::min);
    let most = weights.iter().copied().fold(f32::MIN, f32::max);
    let mut best = Group {
        scale: 0.0,
        offset: -least,
        quants: [0; 32],
    };
    #[expect(clippy::float_cmp, reason = "exactly constant groups")]
    if most == least {
        return best;
    }
    let levels = f32::from(search.levels);
    let quants = |inverse: f32, offset: f32| {
        let mut quants = [0; 32];
        for (quant, weight) in quants.iter_mut().zip(weights) {
            let level = nearest(inverse * (weight + offset));
            *quant = low_byte(level.clamp(0, i32::from(search.levels)));
        }
        quants
    };
    let inverse = levels / (most + best.offset);
    best.scale = 1.0 / inverse;
    best.quants = quants(inverse, best.offset);
    let mut best_error = best.error(weights, &importance);
    for step in 0..=search.steps {
        // Each step starts from the best offset so far.
        let inverse = (search.start + 0.1 * f32::from(step) + levels) / (most + best.offset);
        let quants = quants(inverse, best.offset);
        let mut sums = Sums {
            importance: total,
            weight: weighted,
            ..Sums::default()
        };
        for ((weight, importance), &quant) in weights.iter().zip(importance).zip(&quants) {
            let quant = f32::from(quant);
            sums.quant += importance * quant;
            sums.quant_squared += importance * quant * quant;
            sums.product += importance * quant * weight;
        }
        let Some((scale, offset)) = sums.line() else {
            continue;
        };
        let found = Group {
            scale,
            offset,
            quants,
        };
        let error = found.error(weights, &importance);
        if error < best_error {
            (best, best_error) = (found, error);
        }
    }
    best
}

/// Fills the first 16 bytes of a block of Q4_K or Q5_K: d, m, 8 × (s, o) of 6 bits each. Returns the quants.
fn affine(weights: &[f32], search: &Search, out: &mut [u8]) -> [u8; 256] {
    let mut groups = [Group {
        scale: 0.0,
        offset: 0.0,
        quants: [0; 32],
    }; 8];
    for (group, weights) in groups.iter_mut().zip(weights.chunks_exact(32)) {
        *group = fit_line(weights, search);
    }
    let largest = |largest: f32, value: f32| if value > largest { value } else { largest };
    let scale = groups.iter().map(|group| group.scale).fold(0.0, largest);
    let offset = groups.iter().map(|group| group.offset).fold(0.0, largest);
    put_half(out, scale / 63.0);
    put_half(&mut out[2..], offset / 63.0);
    let half_at = |at: usize| f16::from_le_bytes([out[at], out[at + 1]]).to_f32();
    let (d, m) = (half_at(0), half_at(2));
    let inverse = |largest: f32| if largest > 0.0 { 63.0 / largest } else { 0.0 };
    let six_bits = |value: f32| low_byte(nearest(value)).min(63);
    let mut quants = [0; 256];
    for (index, group) in groups.iter().enumerate() {
        let s = six_bits(inverse(scale) * group.scale);
        let o = six_bits(inverse(offset) * group.offset);
        put_scale_and_offset(&mut out[4..16], index, s, o);
        let rounded = d * f32::from(s);
        let shift = m * f32::from(o);
        let range = index * 32..index * 32 + 32;
        quants[range.clone()].copy_from_slice(&group.quants);
        if rounded == 0.0 {
            continue;
        }
        for (quant, weight) in quants[range.clone()].iter_mut().zip(&weights[range]) {
            let level = nearest((weight + shift) / rounded);
            *quant = low_byte(level.clamp(0, i32::from(search.levels)));
        }
    }
    quants
}

/// Packs a 6-bit scale and offset into the 12 bytes of Q4_K and Q5_K, group after group.
fn put_scale_and_offset(packed: &mut [u8], group: usize, scale: u8, offset: u8) {
    if group < 4 {
        packed[group] = scale;
        packed[group + 4] = offset;
    } else {
        packed[group + 4] = scale & 15 | (offset & 15) << 4;
        packed[group - 4] |= scale >> 4 << 6;
        packed[group] |= offset >> 4 << 6;
    }
}

/// d, m, 8 × (s, o) of 6 bits each, 256 × 4 bits.
pub(super) fn q4_k(weights: &[f32], out: &mut [u8]) {
    let quants = affine(weights, &FOUR_BITS, out);
    for (bytes, quants) in out[16..].chunks_exact_mut(32).zip(quants.chunks_exact(64)) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = quants[i] | quants[i + 32] << 4;
        }
    }
}

/// d, m, 8 × (s, o) of 6 bits each, 256 high bits, 256 × 4 low bits.
pub(super) fn q5_k(weights: &[f32], out: &mut [u8]) {
    let quants = affine(weights, &FIVE_BITS, out);
    for (i, byte) in out[16..48].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, group| bits | quants[group * 32 + i] >> 4 << group);
    }
    for (bytes, quants) in out[48..].chunks_exact_mut(32).zip(quants.chunks_exact(64)) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = quants[i] & 15 | (quants[i + 32] & 15) << 4;
        }
    }
}

/// The scale of least error for a group of 16 weights, and `q + 32` of each. Large weights are more important.
fn fit_scale(weights: &[f32]) -> (f32, [u8; 16]) {
    let extreme = extreme(weights);
    let mut quants = [0; 16];
    if extreme.abs() < SMALLEST {
        return (0.0, quants);
    }
    let quant = |inverse: f32, weight: f32| low_byte(nearest(inverse * weight).clamp(-32, 31)).cast_signed();
    let sums = |inverse: f32| {
        let (mut product, mut squares) = (0.0, 0.0);
        for &weight in weights {
            let quant = f32::from(quant(inverse, weight));
            let importance = weight * weight;
            product += importance * weight * quant;
            squares += importance * quant * quant;
        }
        (product, squares)
    };
    let mut chosen = -32.0 / extreme;
    let (product, squares) = sums(chosen);
    let mut scale = if squares == 0.0 { 0.0 } else { product / squares };
    let mut best = scale * product;
    for step in (-9i8..=9).filter(|&step| step != 0) {
        let inverse = -(32.0 + 0.1 * f32::from(step)) / extreme;
        let (product, squares) = sums(inverse);
        if squares > 0.0 && product * product > best * squares {
            scale = product / squares;
            best = scale * product;
            chosen = inverse;
        }
    }
    for (shifted, &weight) in quants.iter_mut().zip(weights) {
        *shifted = (quant(chosen, weight) + 32).cast_unsigned();
    }
    (scale, quants)
}

/// 256 × 4 low bits, 256 × 2 high bits, 16 × s of 8 bits, signed, d.
pub(super) fn q6_k(weights: &[f32], out: &mut [u8]) {
    let mut quants = [0; 256];
    let mut scales = [0.0f32; 16];
    let mut largest = 0.0f32;
    for (group, weights) in weights.chunks_exact(16).enumerate() {
        let (scale, found) = fit_scale(weights);
        quants[group * 16..group * 16 + 16].copy_from_slice(&found);
        scales[group] = scale;
        if scale.abs() > largest.abs() {
            largest = scale;
        }
    }
    if largest.abs() < SMALLEST {
        out.fill(0);
        return;
    }
    let inverse = -128.0 / largest;
    put_half(&mut out[208..], 1.0 / inverse);
    let d = f16::from_le_bytes([out[208], out[209]]).to_f32();
    for (group, scale) in scales.iter().enumerate() {
        let s = low_byte(nearest(inverse * scale).min(127));
        out[192 + group] = s;
        let rounded = d * f32::from(s.cast_signed());
        if rounded == 0.0 {
            continue;
        }
        let range = group * 16..group * 16 + 16;
        for (quant, weight) in quants[range.clone()].iter_mut().zip(&weights[range]) {
            *quant = low_byte(nearest(weight / rounded).clamp(-32, 31) + 32);
        }
    }
    for (half, quants) in quants.chunks_exact(128).enumerate() {
        for i in 0..64 {
            out[half * 64 + i] = quants[i] & 15 | (quants[i + 64] & 15) << 4;
        }
        for i in 0..32 {
            let high = |group: usize| quants[group * 32 + i] >> 4 << (group * 2);
            out[128 + half * 32 + i] = high(0) | high(1) | high(2) | high(3);
        }
    }
}
