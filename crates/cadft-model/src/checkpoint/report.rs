//! Everything about a checkpoint's weights that does not fit, in one report.

use std::fmt;

use crate::shown::{cut, shortened};

/// What does not fit between the weights of a checkpoint and its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Tensors the configuration asks for and no file holds.
    pub missing: Vec<String>,
    /// Tensors that the configuration has no place for.
    pub unused: Vec<String>,
    /// Tensors of another shape.
    pub mis_shaped: Vec<ShapeMismatch>,
    /// Tensors of a type that is not read, with that type.
    pub unsupported: Vec<(String, String)>,
    /// Tensors held by more than one file.
    pub duplicated: Vec<String>,
    /// Tensors that hold NaN or infinite values.
    pub non_finite: Vec<String>,
    /// Tensors that are not in the file that the index names, with that file.
    pub mis_indexed: Vec<(String, String)>,
    /// Whether `lm_head.weight` differs from the embedding it is said to be tied to.
    pub untied: bool,
}

/// A tensor of another shape than the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The tensor.
    pub name: String,
    /// The shape the configuration asks for.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
    /// The file's name.
    pub file: String,
}

impl CheckpointReport {
    /// Whether everything fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl CheckpointReport {
    /// One line for every problem, a list for each kind.
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
