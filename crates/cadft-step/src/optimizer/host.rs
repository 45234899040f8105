//! The two moments of a parameter in host memory, and the update there: in one pass, without a copy of a whole moment.
//!
//! The tensors of a snapshot share the memory, as those on a device do: the next update then writes to new memory.

mod noise;
mod tiles;

pub(super) use noise::Noise;

use super::MomentFormat;
use super::update::Rates;
use super::update::slices::{BLOCK, block};
use burn::tensor::{DType, Element, TensorData, bf16};
use cadft_kernels::cpu::bf16_bits;
use cadft_kernels::dynamic::{DynamicMap, SIGNED, UNSIGNED};
use cadft_model::parameters::NamedTensor;
use rayon::prelude::*;
use std::sync::Arc;
use tiles::{Coded, TILE};

/// A parameter with fewer values than this has moments in f32 instead of 8 bits: `min_8bit_size` of bitsandbytes.
const FEW: usize = 4096;

/// Both moments, in row-major order.
#[derive(Clone, Debug)]
pub(super) enum HostMoments {
    F32([Arc<Vec<f32>>; 2]),
    Bf16([Arc<Vec<bf16>>; 2]),
    /// Codes of the signed and of the unsigned map, and the largest size of each block of [`TILE`] values.
    Int8 {
        codes: [Arc<Vec<u8>>; 2],
        absmax: [Arc<Vec<f32>>; 2],
    },
}

/// A moment as a checkpoint has it: its values or codes, and the scales of codes.
pub(super) type Kept = (TensorData, Option<TensorData>);

impl HostMoments {
    /// Moments in f32.
    pub(super) fn of(values: [Vec<f32>; 2]) -> Self {
        Self::F32(values.map(Arc::new))
    }

    /// Moments before the first update, of a parameter with `count` values.
    pub(super) fn zeros(count: usize, format: MomentFormat) -> Self {
        Self::of([vec![0.0; count], vec![0.0; count]]).kept_as(format)
    }

    /// These moments in a format; rounded to the nearest, if it is a narrower one.
    pub(super) fn kept_as(self, format: MomentFormat) -> Self {
        let narrow = match (format, &self) {
            (MomentFormat::F32 | MomentFormat::Host, Self::F32(_)) | (MomentFormat::Bf16, Self::Bf16(_)) => {
                return self;
            }
            (MomentFormat::Int8, Self::Int8 { .. }) => return self,
            (MomentFormat::F32 | MomentFormat::Host, _) => false,
            (MomentFormat::Int8, _) if self.len() < FEW => false,
            (MomentFormat::Bf16 | MomentFormat::Int8, _) => true,
        };
        let values = self.into_values();
        if !narrow {
            return Self::of(values);
        }
        if format == MomentFormat::Bf16 {
            let rounded = |values: &f32| bf16::from_bits(bf16_bits(*values));
            return Self::Bf16(values.map(|values| Arc::new(values.par_iter().map(rounded).collect())));
        }
        let [first, second] = values;
        let [(first, scale_1), (second, scale_2)] = [encoded(&first, &SIGNED), encoded(&second, &UNSIGNED)];
        Self::Int8 {
            codes: [Arc::new(first), Arc::new(second)],
            absmax: [Arc::new(scale_1), Arc::new(scale_2)],
        }
    }

    /// Number of values of a moment.
    fn len(&self) -> usize {
        match self {
            Self::F32([first, _]) => first.len(),
            Self::Bf16([first, _]) => first.len(),
            Self::Int8 {
                codes: [first, _], ..
            } => first.len(),
        }
    }

    /// The values in f32.
    pub(super) fn into_values(self) -> [Vec<f32>; 2] {
        match self {
            Self::F32(moments) => moments.map(Arc::unwrap_or_clone),
            Self::Bf16(moments) => moments.map(|moment| moment.par_iter().map(|x| x.to_f32()).collect()),
            Self::Int8 { codes, absmax } => {
                let [first, second] = codes;
                let [scale_1, scale_2] = absmax;
                [
                    decoded(&first, &scale_1, &SIGNED),
                    decoded(&second, &scale_2, &UNSIGNED),
                ]
            }
        }
    }

    /// Moments from a checkpoint; `None` if they are in no known format, or in two.
    pub(super) fn read(kept: &[Kept; 2]) -> Option<Self> {
        let [(first, absmax_1), (second, absmax_2)] = kept;
        match first.dtype() {
            DType::F32 => Some(Self::F32([shared(first)?, shared(second)?])),
            DType::BF16 => Some(Self::Bf16([shared(first)?, shared(second)?])),
            DType::U8 => {
                let codes = [shared::<u8>(first)?, shared(second)?];
                let absmax = [shared::<f32>(absmax_1.as_ref()?)?, shared(absmax_2.as_ref()?)?];
                let has_all = |(codes, absmax): (&Arc<Vec<u8>>, &Arc<Vec<f32>>)| {
                    codes.len().div_ceil(TILE) == absmax.len()
                };
                codes
                    .iter()
                    .zip(&absmax)
                    .all(has_all)
                    .then_some(Self::Int8 { codes, absmax })
            }
            _ => None,
        }
    }

    /// The moments for a checkpoint, as `names` and, for scales, `NAME_absmax`.
    pub(super) fn tensors(&self, names: [String; 2], shape: &[usize]) -> Vec<NamedTensor> {
        let shape = || shape.to_vec();
        let [first, second] = names;
        match self {
            Self::F32([m, v]) => vec![tensor(first, shape(), m), tensor(second, shape(), v)],
            Self::Bf16([m, v]) => vec![tensor(first, shape(), m), tensor(second, shape(), v)],
            Self::Int8 { codes, absmax } => (codes.iter().zip(absmax))
                .zip([first, second])
                .flat_map(|((codes, absmax), name)| {
                    let scales = tensor(format!("{name}_absmax"), vec![absmax.len()], absmax);
                    [tensor(name, shape(), codes), scales]
                })
                .collect(),
        }
    }

    /// Updates a parameter, with the gradient times `factor`, and its moments.
    pub(super) fn update(
        &mut self,
        value: &mut [f32],
        grad: &[f32],
        factor: f32,
        (rates, noise): (Rates, Noise),
    ) {
        let values = value.par_chunks_mut(BLOCK).zip(grad.par_chunks(BLOCK));
        match self {
            Self::F32([first, second]) => {
                let moments = (parts(first, BLOCK)).zip(parts(second, BLOCK));
                values
                    .zip(moments)
                    .for_each(|((value, grad), (m, v))| block([value, m, v], grad, factor, rates));
            }
            Self::Bf16([first, second]) => {
                let moments = (parts(first, BLOCK)).zip(parts(second, BLOCK));
                values
                    .zip(moments)
                    .enumerate()
                    .for_each(|(index, ((value, grad), (m, v)))| {
                        let noise = noise.after(index * BLOCK);
                        tiles::bf16_block(value, [m, v], grad, factor, (rates, noise));
                    });
            }
            Self::Int8 { codes, absmax } => {
                let [first, second] = codes;
                let [scale_1, scale_2] = absmax;
                let firsts = parts(first, BLOCK).zip(parts(scale_1, BLOCK / TILE));
                let seconds = parts(second, BLOCK).zip(parts(scale_2, BLOCK / TILE));
                let coded = |(codes, absmax)| Coded { codes, absmax };
                values
                    .zip(firsts.map(coded))
                    .zip(seconds.map(coded))
                    .for_each(|(((value, grad), m), v)| {
                        tiles::int8_block(value, [m, v], grad, factor, rates);
                    });
            }
        }
    }
}

/// Bytes of the two moments of a parameter with `count` values, on one rank.
#[must_use]
pub fn moment_bytes(count: usize, format: MomentFormat) -> usize {
    let each = match format {
        MomentFormat::Bf16 => 2 * count,
        MomentFormat::Int8 if count >= FEW => count + 4 * count.div_ceil(TILE),
        MomentFormat::F32 | MomentFormat::Host | MomentFormat::Int8 => 4 * count,
    };
    2 * each
}

fn parts<T: Clone + Send>(moment: &mut Arc<Vec<T>>, size: usize) -> rayon::slice::ChunksMut<'_, T> {
    Arc::make_mut(moment).par_chunks_mut(size)
}

fn encoded(values: &[f32], map: &DynamicMap) -> (Vec<u8>, Vec<f32>) {
    let mut codes = vec![0; values.len()];
    let absmax = (codes.par_chunks_mut(TILE))
        .zip(values.par_chunks(TILE))
        .map(|(codes, values)| tiles::encode(codes, values, map))
        .collect();
    (codes, absmax)
}

fn decoded(codes: &[u8], absmax: &[f32], map: &DynamicMap) -> Vec<f32> {
    let mut values = vec![0.0; codes.len()];
    (values.par_chunks_mut(TILE).zip(codes.par_chunks(TILE)))
        .zip(absmax)
        .for_each(|((values, codes), &absmax)| tiles::decode(values, codes, absmax, map));
    values
}

fn shared<E: Element>(data: &TensorData) -> Option<Arc<Vec<E>>> {
    Some(Arc::new(data.as_slice::<E>().ok()?.to_vec()))
}

fn tensor<E: Element>(name: String, shape: Vec<usize>, values: &Arc<Vec<E>>) -> NamedTensor {
    let values = values.clone();
    let dims = shape.clone();
    NamedTensor::of_data(name, shape, E::dtype(), move || {
        TensorData::new(values.as_ref().clone(), dims.clone())
    })
}

#[cfg(all(test, feature = "flex"))]
mod tests;
