//! Numbers to test with: drawn without the device's generator, or read from files.

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// `count` numbers of f32 in `[-1, 1)`, the same on every machine.
pub(super) fn drawn(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state = (state.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1_442_695_040_888_963_407);
            // 24 bits fit an f32 without rounding.
            (state >> 40) as f64 / f64::from(1u32 << 23) - 1.0
        })
        .collect()
}

/// A tensor of these values, rounded to f32.
pub(super) fn tensor<const D: usize>(values: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape).convert::<f32>(), device)
}

/// The values of a tensor.
pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f32>().map(f64::from).collect()
}

/// The arrays of a safetensors file, by name.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Vec<f64>>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", cadft_files::shown(&path)))?;
    let file =
        SafeTensors::deserialize(&bytes).with_context(|| format!("`{}`", cadft_files::shown(&path)))?;
    let arrays = file.tensors().into_iter().map(|(name, view)| {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => (data.as_chunks::<4>().0.iter())
                .map(|&bytes| f64::from(f32::from_le_bytes(bytes)))
                .collect(),
            Dtype::I64 => (data.as_chunks::<8>().0.iter())
                .map(|&bytes| i64::from_le_bytes(bytes) as f64)
                .collect(),
            other => anyhow::bail!("`{}`: `{name}` is {other:?}", cadft_files::shown(&path)),
        };
        Ok((name, values))
    });
    arrays.collect()
}
