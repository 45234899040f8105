//! Tensors by name, in and out of safetensors, bit for bit in f32.

use super::CheckpointError;
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View, serialize_to_file};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A tensor under a name; its values are read when they are needed.
pub struct NamedTensor {
    /// The name.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    values: Box<dyn Fn() -> TensorData + Send>,
}

impl NamedTensor {
    /// Shares the storage of `tensor`.
    #[must_use]
    pub fn new<const D: usize>(name: impl Into<String>, tensor: Tensor<D>) -> Self {
        Self {
            name: name.into(),
            shape: tensor.dims().to_vec(),
            values: Box::new(move || tensor.to_data()),
        }
    }

    /// A vector.
    #[must_use]
    pub fn from_values(name: impl Into<String>, values: Vec<f32>) -> Self {
        let count = values.len();
        let data = TensorData::new(values, [count]);
        Self {
            name: name.into(),
            shape: vec![count],
            values: Box::new(move || data.clone()),
        }
    }

    /// The same tensor with its values copied now, so that it no longer holds on to memory of a device.
    #[must_use]
    pub fn on_host(self) -> Self {
        let data = copied(&(self.values)());
        Self {
            values: Box::new(move || data.clone()),
            ..self
        }
    }

    /// The values.
    #[must_use]
    pub fn to_data(&self) -> TensorData {
        (self.values)().convert_dtype(DType::F32)
    }

    /// Bytes of the values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}

/// The same values in memory of their own. What CubeCL gives is read when it is looked at, and would be what an update in
/// place has made of it by then.
pub(crate) fn copied(data: &TensorData) -> TensorData {
    TensorData::from_bytes_vec(data.as_bytes().to_vec(), data.shape().clone(), data.dtype())
}

impl fmt::Debug for NamedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}

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

/// Writes a safetensors file, one tensor in memory at a time.
pub(crate) fn write(path: &Path, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
    let views = tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), Encoded(tensor)));
    serialize_to_file(views, None, path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => CheckpointError::io("write", path)(source),
        other => CheckpointError::damaged(path, &other),
    })?;
    cadft_files::make_readable(path).map_err(CheckpointError::io("write", path))
}

/// The f32 tensors of a safetensors file.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    let bytes = cadft_files::read(path).map_err(CheckpointError::io("read", path))?;
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
