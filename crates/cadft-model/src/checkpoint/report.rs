//! A report of all mismatches between weights and configuration.

use std::fmt;

use crate::shown::{cut, shortened};

/// The mismatches between the weights of a checkpoint and its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Tensors that the configuration requires and no file holds.
    pub missing: Vec<String>,
    /// Tensors that the configuration does not use.
    pub unused: Vec<String>,
    /// Tensors with a wrong shape.
    pub mis_shaped: Vec<ShapeMismatch>,
    /// Tensors of an unsupported type, each with that type.
    pub unsupported: Vec<(String, String)>,
    /// Tensors in more than one file.
    pub duplicated: Vec<String>,
    /// Tensors with NaN or infinite values.
    pub non_finite: Vec<String>,
    /// Tensors that are not in the file that the index names, each with that file.
    pub mis_indexed: Vec<(String, String)>,
    /// Whether `lm_head.weight` differs from the embedding although the configuration ties them.
    pub untied: bool,
}

/// A tensor whose shape differs from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The tensor's name.
    pub name: String,
    /// The shape that the configuration requires.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
    /// The name of the file.
    pub file: String,
}

impl CheckpointReport {
    /// Whether there are no mismatches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl CheckpointReport {
    /// The lines of the report, one for each problem, grouped by kind.
    fn lines(&self) -> [Vec<String>; 8] {
        let named = |names: &[String], what: &str| {
            let line = |name: &String| format!("`{}`: {what}", cut(name));
            names.iter().map(line).collect::<Vec<_>>()
        };
        let mis_shaped = self.mis_shaped.iter().map(|mismatch| {
            let ShapeMismatch {
                name,
                expected,
                found,
                file,
            } = mismatch;
            format!(
                "`{}`: expected `{expected:?}`, found `{found:?}` in `{file}`",
                cut(name)
            )
        });
        let unsupported = (self.unsupported.iter())
            .map(|(name, dtype)| format!("`{}`: type `{dtype}`; supported: `F32`, `F16`, `BF16`", cut(name)));
        let mis_indexed = (self.mis_indexed.iter()).map(|(name, file)| {
            format!(
                "`{}`: the index names `{file}`, which does not hold it",
                cut(name)
            )
        });
        let untied = self.untied.then(|| {
            "`lm_head.weight`: differs from `model.embed_tokens.weight` although `tie_word_embeddings` is `true`"
                .to_owned()
        });
        [
            named(&self.missing, "missing"),
            named(&self.unused, "unused"),
            mis_shaped.collect(),
            unsupported.collect(),
            named(&self.duplicated, "held by more than one file"),
            named(&self.non_finite, "holds NaN or infinite values"),
            mis_indexed.collect(),
            untied.into_iter().collect(),
        ]
    }
}

impl fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines()
            .iter()
            .flat_map(|lines| shortened(lines))
            .try_for_each(|line| write!(f, "\n  - {line}"))
    }
}
