//! Several samples in one row: which positions belong to the same sample.

/// The samples of each row, one after the other from the left; the rest of a row is padding.
///
/// Samples of a row do not attend to each other, and the positions of each start at 0.
///
/// # Examples
///
/// ```
/// use cadft_model::Packing;
/// // Two rows of 8 positions: 3 + 4 tokens and one of padding, and 8 tokens.
/// let packing = Packing { lengths: vec![vec![3, 4], vec![8]] };
/// assert_eq!(packing.lengths.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    /// For every row, the number of tokens of each of its samples.
    pub lengths: Vec<Vec<usize>>,
}

impl Packing {
    /// For every position of every row, the index in the row at which its sample starts. Padding counts as one more
    /// sample.
    ///
    /// # Panics
    /// If the samples of a row have more than `seq` tokens in total.
    pub(crate) fn starts(&self, seq: usize) -> Vec<usize> {
        let mut starts = Vec::with_capacity(self.lengths.len() * seq);
        for (row, lengths) in self.lengths.iter().enumerate() {
            let used: usize = lengths.iter().sum();
            assert!(
                used <= seq,
                "the samples of row {row} take {used} positions of {seq}"
            );
            let mut start = 0;
            for &length in lengths.iter().chain([&(seq - used)]) {
                starts.extend(std::iter::repeat_n(start, length));
                start += length;
            }
        }
        starts
    }
}
