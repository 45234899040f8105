//! How the queries of a long sample are cut for the backward pass.

use std::ops::Range;

/// Blocks of a sample above which its backward pass is cut into pieces.
const BLOCKS_OF_PIECE: usize = 8;

/// Most pieces of a sample.
const MOST_PIECES: usize = 4;

/// Cuts `blocks` blocks of queries into pieces of about as many scores each: a later block has more keys.
pub(super) fn pieces(blocks: usize) -> Vec<Range<usize>> {
    let count = blocks.div_ceil(BLOCKS_OF_PIECE).clamp(1, MOST_PIECES);
    let end = |piece: usize| (blocks as f64 * (piece as f64 / count as f64).sqrt()).round() as usize;
    (0..count).map(|piece| end(piece)..end(piece + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_block_once_and_have_about_as_many_scores() {
        for blocks in 0..200 {
            let pieces = pieces(blocks);
            assert!(pieces.len() <= MOST_PIECES);
            let covered: Vec<usize> = pieces.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..blocks).collect::<Vec<_>>());
        }
        let scores = |piece: &Range<usize>| piece.clone().map(|block| block + 1).sum::<usize>();
        let of_64: Vec<usize> = pieces(64).iter().map(scores).collect();
        assert!(
            of_64
                .iter()
                .all(|&scores| scores.abs_diff(64 * 65 / 2 / MOST_PIECES) < 40),
            "{of_64:?}"
        );
    }
}
