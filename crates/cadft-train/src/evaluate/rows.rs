//! Which row each sample comes from.

use cadft_data::{Dataset, Row};
use std::collections::HashSet;

/// For each sample of `dataset` the position of its row in `rows`, which it was made from.
#[must_use]
pub fn kept_rows(rows: &[Row], dataset: &Dataset) -> Vec<usize> {
    let dropped: HashSet<(&str, usize)> = (dataset.report.dropped.iter())
        .map(|sample| (sample.id.as_str(), sample.line))
        .collect();
    (rows.iter().enumerate())
        .filter(|(_, row)| !dropped.contains(&(row.id.as_str(), row.line)))
        .map(|(number, _)| number)
        .collect()
}
