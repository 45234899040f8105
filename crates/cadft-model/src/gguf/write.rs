//! Writes the GGUF container: header, metadata and tensor table, then the tensors one at a time.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use cadft_files::{Action, NewFile};
use half::f16;
use rayon::prelude::*;

use super::quant::GgmlType;
use crate::error::ModelError;

/// Alignment of tensors in bytes.
const ALIGNMENT: usize = 32;
const VERSION: u32 = 3;

/// A metadata value with the type that is written.
pub(super) enum Field {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
}

/// A tensor to be written; its values are computed when they are needed.
pub(super) struct Output<'a> {
    pub(super) name: String,
    /// Slowest dimension first.
    pub(super) shape: Vec<usize>,
    /// `F32`, `F16` or `Q8_0`.
    pub(super) kind: GgmlType,
    pub(super) values: Box<dyn Fn() -> Vec<f32> + 'a>,
}

/// Writes a file atomically.
pub(super) fn write(
    path: &Path,
    metadata: &[(String, Field)],
    tensors: &[Output<'_>],
) -> Result<(), ModelError> {
    write_to(path, metadata, tensors).map_err(|source| ModelError::io(Action::Write, path, source))
}

fn write_to(path: &Path, metadata: &[(String, Field)], tensors: &[Output<'_>]) -> io::Result<()> {
    let head = header(metadata, tensors)?;
    let mut out = BufWriter::new(NewFile::create(path)?);
    out.write_all(&head)?;
    for tensor in tensors {
        let bytes = encode(tensor.kind, &(tensor.values)());
        out.write_all(&bytes)?;
        out.write_all(&vec![0; bytes.len().next_multiple_of(ALIGNMENT) - bytes.len()])?;
    }
    out.into_inner()?.finish()
}

fn header(metadata: &[(String, Field)], tensors: &[Output<'_>]) -> io::Result<Vec<u8>> {
    let mut head = b"GGUF".to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, field) in metadata {
        text(&mut head, key);
        field.write(&mut head);
    }
    let mut offset = 0;
    for Output {
        name, shape, kind, ..
    } in tensors
    {
        let bytes = kind
            .bytes(shape)
            .ok_or_else(|| io::Error::other(format!("tensor `{name}` does not fit its blocks")))?;
        text(&mut head, name);
        head.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            head.extend((size as u64).to_le_bytes());
        }
        head.extend(kind.id().to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    Ok(head)
}

impl Field {
    fn write(&self, out: &mut Vec<u8>) {
        let list = |out: &mut Vec<u8>, kind: u32, count: usize| {
            out.extend(9u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((count as u64).to_le_bytes());
        };
        match self {
            Self::U32(number) => {
                out.extend(4u32.to_le_bytes());
                out.extend(number.to_le_bytes());
            }
            Self::F32(number) => {
                out.extend(6u32.to_le_bytes());
                out.extend(number.to_le_bytes());
            }
            Self::Bool(flag) => {
                out.extend(7u32.to_le_bytes());
                out.push(u8::from(*flag));
            }
            Self::Text(value) => {
                out.extend(8u32.to_le_bytes());
                text(out, value);
            }
            Self::Texts(values) => {
                list(out, 8, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Self::I32s(values) => {
                list(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Encodes `values` in blocks of `kind`.
fn encode(kind: GgmlType, values: &[f32]) -> Vec<u8> {
    match kind {
        GgmlType::F16 => values
            .par_iter()
            .flat_map_iter(|&value| f16::from_f32(value).to_le_bytes())
            .collect(),
        GgmlType::Q8_0 => values.par_chunks(32).flat_map_iter(q8_0).collect(),
        _ => values
            .par_iter()
            .flat_map_iter(|value| value.to_le_bytes())
            .collect(),
    }
}

/// A block of 32 weights: `d = max|w| / 127` as f16, `q = round(w / d)`.
fn q8_0(weights: &[f32]) -> [u8; 34] {
    let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut block = [0; 34];
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (q, &weight) in block[2..].iter_mut().zip(weights) {
        #[expect(clippy::cast_possible_truncation, reason = "at most 127 in magnitude")]
        let rounded = (weight * inverse).round() as i8;
        *q = rounded.to_le_bytes()[0];
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_decodes_to_within_half_a_step() {
        let weights: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let decoded = GgmlType::Q8_0.decode(&encode(GgmlType::Q8_0, &weights));
        for (block, decoded) in weights.chunks(32).zip(decoded.chunks(32)) {
            let step = block.iter().fold(0.0f32, |max, w| max.max(w.abs())) / 127.0;
            for (weight, decoded) in block.iter().zip(decoded) {
                // The scale itself is rounded to 11 bits.
                assert!((weight - decoded).abs() <= 0.5 * step + weight.abs() / 2048.0);
            }
        }
        assert_eq!(q8_0(&[0.0; 32]), [0; 34]);
    }
}
