//! Reads and writes tensors by name in safetensors files, bit for bit in f32.

use super::CheckpointError;
use burn::tensor::TensorData;
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
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.0.bytes());
        for value in self.0.to_data().iter::<f32>() {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.0.bytes()
    }
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
    let bytes = cadft_files::read(path).map_err(CheckpointError::io(Action::Read, path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| CheckpointError::damaged(path, &error))?;
    file.iter()
        .map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                let message = format!("`{name}` is {}, not F32", view.dtype());
                return Err(CheckpointError::damaged(path, &message));
            }
            let (chunks, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            Ok((name.to_owned(), TensorData::new(values, view.shape().to_vec())))
        })
        .collect()
}
