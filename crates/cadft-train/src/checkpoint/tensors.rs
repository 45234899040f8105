//! Reads and writes tensors by name in safetensors files, bit for bit: in f32, and moments also in fewer bits.

use super::CheckpointError;
use burn::tensor::{DType, TensorData, bf16};
use cadft_files::Action;
pub use cadft_model::parameters::NamedTensor;
pub(crate) use cadft_model::parameters::copied;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View, serialize_to_file};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

struct Encoded<'a>(&'a NamedTensor);

impl View for Encoded<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.dtype() {
            DType::BF16 => Dtype::BF16,
            DType::U8 => Dtype::U8,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(little_endian(&self.0.to_data()))
    }

    fn data_len(&self) -> usize {
        self.0.bytes()
    }
}

/// The bytes of the values, the lowest of each first.
fn little_endian(data: &TensorData) -> Vec<u8> {
    let mut bytes = data.as_bytes().to_vec();
    if cfg!(target_endian = "big") {
        bytes.chunks_mut(data.dtype().size()).for_each(<[u8]>::reverse);
    }
    bytes
}

/// Writes a safetensors file, with one tensor in memory at a time.
pub(crate) fn write(path: &Path, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
    let views = tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), Encoded(tensor)));
    serialize_to_file(views, None, path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => CheckpointError::io(Action::Write, path)(source),
        other => CheckpointError::damaged(path, &other),
    })?;
    cadft_files::make_readable(path).map_err(CheckpointError::io(Action::Write, path))
}

/// The f32 tensors of a safetensors file.
///
/// # Errors
/// If the file cannot be read, is not a safetensors file, or holds tensors of another type.
pub fn read(path: &Path) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    read_types(path, &[Dtype::F32])
}

/// The tensors of a file of moments: in f32 or in fewer bits.
pub(crate) fn read_moments(path: &Path) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    read_types(path, &[Dtype::F32, Dtype::BF16, Dtype::U8])
}

fn read_types(path: &Path, known: &[Dtype]) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    let bytes = cadft_files::read(path).map_err(CheckpointError::io(Action::Read, path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| CheckpointError::damaged(path, &error))?;
    file.iter()
        .map(|(name, view)| {
            if !known.contains(&view.dtype()) {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                let message = format!("`{name}` is {}, not {}", view.dtype(), known.join(" or "));
                return Err(CheckpointError::damaged(path, &message));
            }
            let shape = view.shape().to_vec();
            let data = match view.dtype() {
                Dtype::BF16 => {
                    let (chunks, _) = view.data().as_chunks::<2>();
                    let of = |bytes: &[u8; 2]| bf16::from_bits(u16::from_le_bytes(*bytes));
                    TensorData::new(chunks.iter().map(of).collect(), shape)
                }
                Dtype::U8 => TensorData::new(view.data().to_vec(), shape),
                _ => {
                    let (chunks, _) = view.data().as_chunks::<4>();
                    let of = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
                    TensorData::new(chunks.iter().map(of).collect(), shape)
                }
            };
            Ok((name.to_owned(), data))
        })
        .collect()
}
