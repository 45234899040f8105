//! Named tensors whose values are read on demand, for writing files.

use burn::tensor::{DType, Tensor, TensorData};
use std::fmt;

/// A named tensor. Its values are read when they are needed.
pub struct NamedTensor {
    /// The name.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    /// The type of the values.
    dtype: DType,
    /// Whether the values are in host memory that does not change.
    is_shared: bool,
    values: Box<dyn Fn() -> TensorData + Send>,
}

impl NamedTensor {
    /// A named tensor that shares the storage of `tensor`.
    #[must_use]
    pub fn new<const D: usize>(name: impl Into<String>, tensor: Tensor<D>) -> Self {
        Self {
            name: name.into(),
            shape: tensor.dims().to_vec(),
            dtype: DType::F32,
            is_shared: false,
            values: Box::new(move || tensor.to_data()),
        }
    }

    /// A vector with these values.
    #[must_use]
    pub fn from_values(name: impl Into<String>, values: Vec<f32>) -> Self {
        let count = values.len();
        Self::of_shape(name, vec![count], values)
    }

    /// A tensor with these values in row-major order.
    ///
    /// # Panics
    /// If `values` does not have the number of elements of `shape`.
    #[must_use]
    pub fn of_shape(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let data = TensorData::new(values, shape.clone());
        Self::of_data(name, shape, DType::F32, move || data.clone())
    }

    /// A tensor of any type with values in host memory that do not change.
    #[must_use]
    pub fn of_data(
        name: impl Into<String>,
        shape: Vec<usize>,
        dtype: DType,
        values: impl Fn() -> TensorData + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            shape,
            dtype,
            is_shared: true,
            values: Box::new(values),
        }
    }

    /// Copies the values to host memory now, and releases the device memory.
    #[must_use]
    pub fn on_host(self) -> Self {
        if self.is_shared {
            return self;
        }
        let data = copied(&(self.values)());
        Self {
            is_shared: true,
            values: Box::new(move || data.clone()),
            ..self
        }
    }

    /// The type of the values: f32, except for moments that are kept in fewer bits.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The values.
    #[must_use]
    pub fn to_data(&self) -> TensorData {
        (self.values)().convert_dtype(self.dtype)
    }

    /// Size of the values in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// A copy of the values. CubeCL's data is read lazily, so a later in-place update would change data that is not copied.
pub fn copied(data: &TensorData) -> TensorData {
    TensorData::from_bytes_vec(data.as_bytes().to_vec(), data.shape().clone(), data.dtype())
}

impl fmt::Debug for NamedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}
