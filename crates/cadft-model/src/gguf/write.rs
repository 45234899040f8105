//! Writes the GGUF container: header, metadata and tensor table, then the tensors one at a time.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use cadft_files::{Action, NewFile};

use super::quant::GgmlType;
use super::quantise;
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
    F32s(Vec<f32>),
}

/// A tensor to be written; its values are computed when they are needed.
pub(super) struct Output<'a> {
    pub(super) name: String,
    /// Slowest dimension first.
    pub(super) shape: Vec<usize>,
    /// A type that is encoded.
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
        let bytes = quantise::encode(tensor.kind, &(tensor.values)())
            .ok_or_else(|| io::Error::other(format!("tensor `{}` cannot be encoded", tensor.name)))?;
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
            Self::F32s(values) => {
                list(out, 6, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
