//! Writing safetensors files, one or several with an index. Only one tensor is in memory at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use cadft_files::Action;
use safetensors::tensor::{View, serialize_to_file};
use serde_json::json as object;

use crate::dtype::Dtype;
use crate::error::ModelError;
use crate::file::write_file;
use crate::json;

/// A tensor to be written. Its values are computed when they are needed.
pub(crate) struct Weight<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Box<dyn Fn() -> Vec<f32> + 'a>,
}

impl Weight<'_> {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Writes the weights into `directory` under Hugging Face's file names.
///
/// Files are filled in the order of `weights`. None exceeds `max_shard_bytes`, except for a single larger tensor.
pub(crate) fn write_weights(
    directory: &Path,
    weights: &[Weight<'_>],
    dtype: Dtype,
    max_shard_bytes: usize,
) -> Result<(), ModelError> {
    let shards = split(weights, dtype, max_shard_bytes);
    if let [shard] = &shards[..] {
        return write_shard(&directory.join("model.safetensors"), shard, dtype);
    }
    let mut weight_map = BTreeMap::new();
    for (index, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        write_shard(&directory.join(&file), shard, dtype)?;
        weight_map.extend(shard.iter().map(|weight| (&weight.name, file.clone())));
    }
    let elements: usize = weights.iter().map(Weight::elements).sum();
    let index = object!({
        "metadata": {"total_parameters": elements, "total_size": elements * dtype.size()},
        "weight_map": weight_map,
    });
    write_file(
        &directory.join("model.safetensors.index.json"),
        &json::pretty(&index),
    )
}

/// Splits the list before each tensor that would exceed the limit.
fn split<'w, 'a>(weights: &'w [Weight<'a>], dtype: Dtype, max_shard_bytes: usize) -> Vec<&'w [Weight<'a>]> {
    let mut shards = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, weight) in weights.iter().enumerate() {
        let size = weight.elements() * dtype.size();
        if index > start && bytes + size > max_shard_bytes {
            shards.push(&weights[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    shards.push(&weights[start..]);
    shards
}

/// Writes one safetensors file.
pub(crate) fn write_shard(path: &Path, shard: &[Weight<'_>], dtype: Dtype) -> Result<(), ModelError> {
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let views = shard
        .iter()
        .map(|weight| (weight.name.as_str(), Encoded { weight, dtype }));
    serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => ModelError::io(Action::Write, path, source),
        source => ModelError::SafeTensors {
            path: path.to_owned(),
            source,
        },
    })
}

struct Encoded<'w, 'a> {
    weight: &'w Weight<'a>,
    dtype: Dtype,
}

impl View for Encoded<'_, '_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype.to_safetensors()
    }

    fn shape(&self) -> &[usize] {
        &self.weight.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.dtype.encode(&(self.weight.values)()).into()
    }

    fn data_len(&self) -> usize {
        self.weight.elements() * self.dtype.size()
    }
}
