//! Best-fit-decreasing bin packing.

use std::collections::BTreeSet;

/// Puts samples of these lengths into rows of at most `most` tokens; a longer sample gets its own row. Samples are
/// placed in order of decreasing length, equal lengths in the given order. Each goes into the row with the least
/// sufficient room, and into the oldest of several.
pub(super) fn best_fit_decreasing(lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // (room left, row)
    let mut open = BTreeSet::new();
    for index in order {
        let length = lengths[index];
        let (room, row) = open.range((length, 0)..).next().copied().unwrap_or_else(|| {
            rows.push(Vec::new());
            (most.max(length), rows.len() - 1)
        });
        open.remove(&(room, row));
        rows[row].push(index);
        if room > length {
            open.insert((room - length, row));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::best_fit_decreasing;

    #[test]
    fn the_fullest_row_with_room_is_taken() {
        assert_eq!(
            best_fit_decreasing(&[3, 6, 4, 5, 2], 8),
            [vec![1, 4], vec![3, 0], vec![2]]
        );
        assert_eq!(best_fit_decreasing(&[9, 1, 9], 8), [vec![0], vec![2], vec![1]]);
        assert!(best_fit_decreasing(&[], 8).is_empty());
    }
}
