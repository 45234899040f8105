//! The difference of two checkpoints, tensor by tensor.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use schemars::JsonSchema;
use serde::Serialize;

use super::files::{ParsedFile, WeightFiles};
use crate::dtype::Dtype;
use crate::error::ModelError;

/// How a tensor differs between two checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TensorDifference {
    /// Only the first checkpoint has it.
    OnlyFirst,
    /// Only the second checkpoint has it.
    OnlySecond,
    /// The shapes differ.
    Shape {
        /// The shape in the first checkpoint.
        first: Vec<usize>,
        /// The shape in the second checkpoint.
        second: Vec<usize>,
    },
    /// A tensor has a type that is not supported.
    Unsupported,
    /// The types and shapes allow a comparison of values.
    Values {
        /// Number of elements whose values differ.
        changed: usize,
        /// Number of elements.
        elements: usize,
        /// Largest absolute difference.
        largest: f64,
        /// `‖second − first‖ / ‖first‖`, Euclidean.
        relative: f64,
    },
}

/// Compares the weights of two directories. The result is sorted by tensor name.
///
/// # Errors
/// If a file cannot be read.
pub fn compare(first: &Path, second: &Path) -> Result<Vec<(String, TensorDifference)>, ModelError> {
    let (first, second) = (WeightFiles::open(first)?, WeightFiles::open(second)?);
    let (first, second) = (first.parse()?, second.parse()?);
    let (first, mut second) = (by_name(&first), by_name(&second));
    let mut differences: BTreeMap<String, TensorDifference> = first
        .into_iter()
        .map(|(name, view)| {
            let difference = match second.remove(&name) {
                Some(other) => difference(&view, &other),
                None => TensorDifference::OnlyFirst,
            };
            (name, difference)
        })
        .collect();
    let only_second = second
        .into_keys()
        .map(|name| (name, TensorDifference::OnlySecond));
    differences.extend(only_second);
    Ok(differences.into_iter().collect())
}

fn by_name<'a>(files: &'a [ParsedFile<'a>]) -> BTreeMap<String, TensorView<'a>> {
    files
        .iter()
        .flat_map(|file| file.tensors.iter())
        .map(|(name, view)| (name.to_owned(), view))
        .collect()
}

fn difference(first: &TensorView<'_>, second: &TensorView<'_>) -> TensorDifference {
    if first.shape() != second.shape() {
        return TensorDifference::Shape {
            first: first.shape().to_vec(),
            second: second.shape().to_vec(),
        };
    }
    let values = |view: &TensorView<'_>| Some(Dtype::from_safetensors(view.dtype())?.decode(view.data()));
    let (Some(first), Some(second)) = (values(first), values(second)) else {
        return TensorDifference::Unsupported;
    };
    let (mut changed, mut largest, mut squares, mut own) = (0, 0.0f64, 0.0, 0.0);
    for (&a, &b) in first.iter().zip(&second) {
        let (a, b) = (f64::from(a), f64::from(b));
        let difference = (b - a).abs();
        changed += usize::from(a.to_bits() != b.to_bits());
        // A NaN counts as an infinite difference.
        largest = if difference.is_nan() {
            f64::INFINITY
        } else {
            largest.max(difference)
        };
        squares += difference * difference;
        own += a * a;
    }
    TensorDifference::Values {
        changed,
        elements: first.len(),
        largest,
        relative: if squares == 0.0 {
            0.0
        } else {
            (squares / own).sqrt()
        },
    }
}
