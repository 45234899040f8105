//! Tensors under names, whose values are read late: for files, and for what goes into them.

use burn::tensor::{DType, Tensor, TensorData};
use std::fmt;

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
        Self::of_shape(name, vec![count], values)
    }

    /// A tensor with these values, row by row.
    ///
    /// # Panics
    /// If their number is not that of the shape.
    #[must_use]
    pub fn of_shape(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let data = TensorData::new(values, shape.clone());
        Self {
            name: name.into(),
            shape,
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
pub fn copied(data: &TensorData) -> TensorData {
    TensorData::from_bytes_vec(data.as_bytes().to_vec(), data.shape().clone(), data.dtype())
}

impl fmt::Debug for NamedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}
