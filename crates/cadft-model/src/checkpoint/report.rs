//! Everything about a checkpoint's weights that does not fit, in one report.

use std::fmt;

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

impl fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.missing {
            write!(f, "\n  - `{name}`: missing")?;
        }
        for name in &self.unused {
            write!(f, "\n  - `{name}`: unused")?;
        }
        for ShapeMismatch {
            name,
            expected,
            found,
            file,
        } in &self.mis_shaped
        {
            write!(
                f,
                "\n  - `{name}`: expected `{expected:?}`, found `{found:?}` in `{file}`"
            )?;
        }
        for (name, dtype) in &self.unsupported {
            write!(
                f,
                "\n  - `{name}`: type `{dtype}`; supported: `F32`, `F16`, `BF16`"
            )?;
        }
        for name in &self.duplicated {
            write!(f, "\n  - `{name}`: held by more than one file")?;
        }
        for name in &self.non_finite {
            write!(f, "\n  - `{name}`: holds NaN or infinite values")?;
        }
        for (name, file) in &self.mis_indexed {
            write!(
                f,
                "\n  - `{name}`: the index names `{file}`, which does not hold it"
            )?;
        }
        if self.untied {
            write!(
                f,
                "\n  - `lm_head.weight`: differs from `model.embed_tokens.weight` although \
                 `tie_word_embeddings` is `true`"
            )?;
        }
        Ok(())
    }
}
