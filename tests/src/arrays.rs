//! Arrays of a safetensors fixture, read as f64.

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// Named arrays.
#[derive(Clone, Debug, Default)]
pub struct Arrays(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Arrays {
    /// Reads a fixture.
    ///
    /// # Panics
    /// If it is missing or malformed.
    #[must_use]
    pub fn read(path: &str) -> Self {
        let path = crate::fixture(path);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).expect("a fixture is valid safetensors");
        let arrays = file.tensors().into_iter().map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F64 => numbers(view.data(), f64::from_le_bytes),
                Dtype::F32 => numbers(view.data(), |bytes| f64::from(f32::from_le_bytes(bytes))),
                Dtype::I64 => numbers(view.data(), |bytes| i64::from_le_bytes(bytes) as f64),
                other => panic!("{name}: dtype {other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        });
        Self(arrays.collect())
    }

    /// Names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The values of an array.
    ///
    /// # Panics
    /// If no array has that name.
    #[must_use]
    pub fn values(&self, name: &str) -> &[f64] {
        &self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("no array `{name}` in the fixture"))
            .1
    }

    /// An array as an f32 tensor.
    ///
    /// # Panics
    /// If it is missing or of another rank.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the tests compute in f32")]
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let values: Vec<f32> = self.values(name).iter().map(|&x| x as f32).collect();
        Tensor::from_data(TensorData::new(values, self.0[name].0.clone()), device)
    }

    /// An array as an integer tensor.
    ///
    /// # Panics
    /// If it is missing or of another rank.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "ids are small integers")]
    pub fn ids<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        let values: Vec<i64> = self.values(name).iter().map(|&x| x as i64).collect();
        Tensor::from_data(TensorData::new(values, self.0[name].0.clone()), device)
    }

    /// An array of indices.
    ///
    /// # Panics
    /// If it is missing.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "indices are small"
    )]
    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.values(name).iter().map(|&x| x as usize).collect()
    }
}

/// The values of a tensor.
#[must_use]
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f32>().map(f64::from).collect()
}

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|&chunk| read(chunk))
        .collect()
}
