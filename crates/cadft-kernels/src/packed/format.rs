//! The packed formats, and how much each takes.

use std::fmt;

use super::code::{BLOCK, GROUP};

/// The format of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackedFormat {
    /// The upper half of f32, rounded.
    Bf16,
    /// Integers of 8 bits with a scale for each row.
    Int8,
    /// `NormalFloat` of 4 bits with double quantisation.
    Nf4,
}

impl PackedFormat {
    /// Bytes of a packed matrix with this shape.
    ///
    /// ```
    /// use cadft_kernels::PackedFormat;
    /// assert_eq!(PackedFormat::Bf16.bytes([64, 256]), 64 * 256 * 2 + 4);
    /// assert_eq!(PackedFormat::Int8.bytes([64, 256]), 64 * (256 + 4));
    /// assert_eq!(PackedFormat::Nf4.bytes([64, 256]), 64 * 256 / 2 + 256 + 4 + 4);
    /// ```
    #[must_use]
    pub fn bytes(self, shape: [usize; 2]) -> usize {
        let layout = PackedLayout { format: self, shape };
        4 * (layout.words() + layout.scales())
    }
}

impl fmt::Display for PackedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
        })
    }
}

/// Where the parts of a packed matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedLayout {
    pub(super) format: PackedFormat,
    /// `[output, input]`.
    pub(super) shape: [usize; 2],
}

impl PackedLayout {
    /// Number of weights.
    pub(super) fn count(self) -> usize {
        let [output, input] = self.shape;
        output * input
    }

    /// Bits of the code of a weight.
    pub(super) fn bits(self) -> usize {
        match self.format {
            PackedFormat::Bf16 => 16,
            PackedFormat::Int8 => 8,
            PackedFormat::Nf4 => 4,
        }
    }

    /// Words of the codes of weights.
    pub(super) fn code_words(self) -> usize {
        self.count().div_ceil(32 / self.bits())
    }

    /// Blocks of weights that share a scale; only NF4 has them.
    pub(super) fn blocks(self) -> usize {
        match self.format {
            PackedFormat::Nf4 => self.count().div_ceil(BLOCK),
            PackedFormat::Bf16 | PackedFormat::Int8 => 0,
        }
    }

    /// All words: the codes of weights, then those of scales.
    pub(super) fn words(self) -> usize {
        self.code_words() + self.blocks().div_ceil(4)
    }

    /// Number of f32 scales: none in bf16, where one is stored because a tensor is not empty.
    pub(super) fn scales(self) -> usize {
        let [output, _] = self.shape;
        match self.format {
            PackedFormat::Bf16 => 1,
            PackedFormat::Int8 => output,
            PackedFormat::Nf4 => self.blocks().div_ceil(GROUP) + 1,
        }
    }
}
