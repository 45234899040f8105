//! How many rows of logits are in memory at a time.

/// Rows of logits that the fused likelihood holds in memory at a time.
///
/// Beyond rounding, the result does not depend on it. Memory does: `rows × vocab` values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkSize {
    /// As many rows as fit 2²⁴ values (64 MiB in f32), at least 32 and at most 4096.
    #[default]
    Auto,
    /// Exactly this many rows; 0 counts as 1.
    Rows(usize),
}

impl ChunkSize {
    /// Rows for a vocabulary of `vocab` tokens.
    #[must_use]
    pub fn rows(self, vocab: usize) -> usize {
        match self {
            Self::Auto => ((1 << 24) / vocab.max(1)).clamp(32, 4096),
            Self::Rows(rows) => rows.max(1),
        }
    }

    /// Columns of a tile that has all `tokens` rows and a part of the vocabulary. The tile holds as many values as
    /// [`Self::rows`] whole rows; twice as many with [`ChunkSize::Auto`].
    #[cfg(feature = "cube")]
    pub(super) fn columns(self, tokens: usize, vocab: usize) -> usize {
        match self {
            // A multiple of 64 keeps tiles aligned.
            Self::Auto => (((1 << 25) / tokens.max(1)) & !63).clamp(64, vocab.max(64)),
            Self::Rows(rows) => (rows.max(1) * vocab / tokens.max(1)).max(1),
        }
    }
}

/// Consecutive ranges `(start, end)` of at most `rows` elements that cover `0..tokens`.
pub(crate) fn chunks(tokens: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..tokens)
        .step_by(rows)
        .map(move |start| (start, (start + rows).min(tokens)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_row_once() {
        for (tokens, rows) in [(0, 3), (1, 3), (3, 3), (7, 3), (8, 1)] {
            let all: Vec<usize> = chunks(tokens, rows).flat_map(|(start, end)| start..end).collect();
            assert_eq!(all, (0..tokens).collect::<Vec<_>>());
        }
    }

    #[test]
    fn automatic_chunks_hold_at_most_64_mib_for_large_vocabularies() {
        assert_eq!(ChunkSize::Auto.rows(49_152), 341);
        assert_eq!(ChunkSize::Auto.rows(151_936), 110);
        assert_eq!(ChunkSize::Auto.rows(10), 4096);
        assert_eq!(ChunkSize::Rows(0).rows(10), 1);
    }
}
