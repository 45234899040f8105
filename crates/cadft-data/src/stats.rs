//! Statistics about data: lengths, truncated and dropped rows, duplicates, and the trained share.

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{DataError, Problems, RowProblem};
use crate::row::Row;
use crate::source::{Mixing, Source, rows};
use crate::tokenize::{Part, TokenizeOptions, tokenize};
use crate::tokenizer::{LONGEST_TEXT, Tokenizer};

/// Number of rows that are measured together.
const PORTION: usize = 512;

/// Largest number of bars in a histogram.
const BARS: usize = 16;

/// Statistics about several sources.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Stats {
    /// The length to which rows are truncated, in tokens.
    pub max_length: usize,
    /// Statistics of each source, in the order of the sources.
    pub sources: Vec<SourceStats>,
    /// Statistics of all sources together.
    pub total: SourceStats,
    /// The distribution of lengths before truncation, over rows with a trained token.
    pub histogram: Vec<Bar>,
}

/// Statistics about one source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
pub struct SourceStats {
    /// The source's path.
    pub path: String,
    /// Number of rows in the files.
    pub rows: usize,
    /// Number of rows that are kept for training.
    pub kept: usize,
    /// Number of kept rows that are truncated.
    pub truncated: usize,
    /// Number of dropped rows, by reason.
    pub dropped: Dropped,
    /// Number of rows whose content occurred earlier, in this source or a previous one.
    pub duplicates: usize,
    /// Tokens of the kept rows, after truncation.
    pub tokens: usize,
    /// Trained tokens of the kept rows.
    pub supervised: usize,
    /// Trained tokens as a fraction of all tokens.
    pub supervised_share: f64,
    /// Lengths in tokens before truncation, over rows with a trained token.
    pub lengths: Lengths,
    /// Number of kept rows for each part that the chat template does not show.
    pub lost: BTreeMap<Part, usize>,
}

/// Numbers of dropped rows, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Dropped {
    /// The row exceeds the maximum length, and after truncation there is nothing to train.
    pub too_long: usize,
    /// The loss mask selects no token.
    pub nothing_trained: usize,
}

impl Dropped {
    /// The number of dropped rows for any reason.
    pub fn total(&self) -> usize {
        self.too_long + self.nothing_trained
    }
}

/// The distribution of lengths in tokens. A quantile is a length that occurs: the smallest that this share of the rows
/// does not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct Lengths {
    /// The shortest length.
    pub min: usize,
    /// The mean length.
    pub mean: f64,
    /// The median length.
    pub p50: usize,
    /// The 90th percentile.
    pub p90: usize,
    /// The 99th percentile.
    pub p99: usize,
    /// The longest length.
    pub max: usize,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bar {
    /// The shortest length in the bar.
    pub from: usize,
    /// The longest length in the bar.
    pub to: usize,
    /// Number of rows with a length from `from` to `to`.
    pub rows: usize,
}

/// Reads and tokenises all rows of the sources, each row once, regardless of weights.
///
/// # Errors
/// [`DataError::Invalid`] with all problems of the files, [`DataError::Rows`] with every row that cannot be rendered or
/// masked, and the errors of [`crate::tokenize()`].
pub fn stats(
    sources: &[Source],
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Stats, DataError> {
    let mut counting = Counting {
        tokenizer,
        options,
        sources: sources.iter().map(Counts::new).collect(),
        seen: HashSet::new(),
        problems: Problems::default(),
        hint: None,
    };
    let (mut portion, mut wrong) = (Vec::with_capacity(PORTION), Problems::default());
    let mut bytes = 0;
    for (index, source) in sources.iter().enumerate() {
        for row in rows(std::slice::from_ref(source), &Mixing::default())? {
            match row {
                Ok(row) => {
                    bytes += row.content.bytes();
                    portion.push(Row { source: index, ..row });
                }
                Err(problem) => wrong.push(problem),
            }
            if portion.len() == PORTION || bytes >= LONGEST_TEXT {
                bytes = 0;
                counting.measure(&mut portion)?;
            }
        }
    }
    counting.measure(&mut portion)?;
    wrong.or(())?;
    counting.finish()
}

/// Statistics of a source while its rows are read.
struct Counts {
    stats: SourceStats,
    lengths: Vec<usize>,
}

impl Counts {
    fn new(source: &Source) -> Self {
        Self {
            stats: SourceStats {
                path: source.path.clone(),
                ..SourceStats::default()
            },
            lengths: Vec::new(),
        }
    }

    fn add(&mut self, measured: Measured) {
        let stats = &mut self.stats;
        stats.rows += 1;
        match measured {
            Measured::Kept {
                length,
                tokens,
                supervised,
                lost,
            } => {
                for part in lost {
                    *stats.lost.entry(part).or_default() += 1;
                }
                self.lengths.push(length);
                stats.kept += 1;
                stats.truncated += usize::from(tokens < length);
                stats.tokens += tokens;
                stats.supervised += supervised;
            }
            Measured::TooLong { length } => {
                self.lengths.push(length);
                stats.dropped.too_long += 1;
            }
            Measured::NothingTrained => stats.dropped.nothing_trained += 1,
        }
    }

    fn finish(mut self) -> SourceStats {
        self.lengths.sort_unstable();
        self.stats.lengths = Lengths::of(&self.lengths);
        self.stats.supervised_share = self.stats.supervised as f64 / self.stats.tokens.max(1) as f64;
        self.stats
    }
}

/// The outcome of a row.
enum Measured {
    Kept {
        /// Length in tokens, before truncation.
        length: usize,
        tokens: usize,
        supervised: usize,
        /// The parts of the row that the chat template does not show.
        lost: Vec<Part>,
    },
    TooLong {
        length: usize,
    },
    NothingTrained,
}

fn measure(row: &Row, tokenizer: &Tokenizer, options: &TokenizeOptions) -> Result<Measured, DataError> {
    let one = std::slice::from_ref(row);
    let whole = TokenizeOptions {
        max_length: usize::MAX,
        ..*options
    };
    let mut dataset = match tokenize(one, tokenizer, &whole) {
        Err(DataError::NothingToTrain { .. }) => return Ok(Measured::NothingTrained),
        dataset => dataset?,
    };
    let length = dataset.report.tokens;
    if length > options.max_length {
        dataset = match tokenize(one, tokenizer, options) {
            Err(DataError::NothingToTrain { .. }) => return Ok(Measured::TooLong { length }),
            dataset => dataset?,
        };
    }
    Ok(Measured::Kept {
        length,
        tokens: dataset.report.tokens,
        supervised: dataset.report.supervised,
        lost: dataset.report.lost.into_keys().collect(),
    })
}

struct Counting<'a> {
    tokenizer: &'a Tokenizer,
    options: &'a TokenizeOptions,
    sources: Vec<Counts>,
    /// Fingerprints of the contents so far.
    seen: HashSet<String>,
    problems: Problems<RowProblem>,
    hint: Option<String>,
}

impl Counting<'_> {
    fn measure(&mut self, portion: &mut Vec<Row>) -> Result<(), DataError> {
        let (tokenizer, options) = (self.tokenizer, self.options);
        let measured: Vec<_> = portion
            .par_iter()
            .map(|row| (row.fingerprint(), measure(row, tokenizer, options)))
            .collect();
        for (row, (fingerprint, measured)) in portion.drain(..).zip(measured) {
            match measured {
                Ok(measured) => {
                    let source = &mut self.sources[row.source];
                    source.add(measured);
                    source.stats.duplicates += usize::from(!self.seen.insert(fingerprint));
                }
                Err(DataError::Rows { problems, hint, .. }) => {
                    self.problems.extend(problems);
                    self.hint.get_or_insert(hint);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Stats, DataError> {
        if let Some(hint) = self.hint {
            let (problems, more) = self.problems.into_parts();
            return Err(DataError::Rows { problems, more, hint });
        }
        let mut all: Vec<usize> = self
            .sources
            .iter()
            .flat_map(|source| source.lengths.iter().copied())
            .collect();
        all.sort_unstable();
        let sources: Vec<_> = self.sources.into_iter().map(Counts::finish).collect();
        Ok(Stats {
            max_length: self.options.max_length,
            total: total(&sources, &all),
            histogram: histogram(&all),
            sources,
        })
    }
}

fn total(sources: &[SourceStats], lengths: &[usize]) -> SourceStats {
    let mut lost = BTreeMap::new();
    for (part, count) in sources.iter().flat_map(|source| &source.lost) {
        *lost.entry(*part).or_default() += count;
    }
    let sum = |of: fn(&SourceStats) -> usize| sources.iter().map(of).sum::<usize>();
    let (tokens, supervised) = (sum(|source| source.tokens), sum(|source| source.supervised));
    SourceStats {
        path: "total".to_owned(),
        rows: sum(|source| source.rows),
        kept: sum(|source| source.kept),
        truncated: sum(|source| source.truncated),
        dropped: Dropped {
            too_long: sum(|source| source.dropped.too_long),
            nothing_trained: sum(|source| source.dropped.nothing_trained),
        },
        duplicates: sum(|source| source.duplicates),
        tokens,
        supervised,
        supervised_share: supervised as f64 / tokens.max(1) as f64,
        lengths: Lengths::of(lengths),
        lost,
    }
}

impl Lengths {
    /// The distribution of sorted lengths.
    fn of(sorted: &[usize]) -> Self {
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let quantile = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Self {
            min,
            mean: sorted.iter().sum::<usize>() as f64 / sorted.len() as f64,
            p50: quantile(50),
            p90: quantile(90),
            p99: quantile(99),
            max,
        }
    }
}

/// Bars of equal width; the width is 1, 2 or 5 times a power of ten.
fn histogram(sorted: &[usize]) -> Vec<Bar> {
    let Some(&max) = sorted.last() else {
        return Vec::new();
    };
    let widths = (0..).flat_map(|power| [1, 2, 5].map(|factor| factor * 10_usize.pow(power)));
    let width = widths
        .into_iter()
        .find(|width| max / width < BARS)
        .unwrap_or(usize::MAX);
    let mut bars: Vec<_> = (0..=max / width)
        .map(|index| Bar {
            from: index * width,
            to: (index + 1) * width - 1,
            rows: 0,
        })
        .collect();
    for length in sorted {
        bars[length / width].rows += 1;
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_lengths_that_occur() {
        let sorted: Vec<usize> = (1..=100).collect();
        let lengths = Lengths::of(&sorted);
        assert_eq!(
            (lengths.min, lengths.p50, lengths.p90, lengths.p99, lengths.max),
            (1, 50, 90, 99, 100)
        );
        assert_eq!(Lengths::of(&[7]).p99, 7);
        assert_eq!(Lengths::of(&[3, 9]).p50, 3);
        assert_eq!(Lengths::of(&[]), Lengths::default());
    }

    #[test]
    fn bars_cover_every_row_once() {
        for max in [0, 1, 15, 16, 99, 160, 4096, 1_000_000] {
            let lengths = [0, max / 3, max];
            let bars = histogram(&lengths);
            assert!(bars.len() <= BARS, "{max}");
            assert_eq!(bars.iter().map(|bar| bar.rows).sum::<usize>(), 3, "{max}");
            assert!(
                bars.last().is_some_and(|bar| bar.from <= max && max <= bar.to),
                "{max}"
            );
        }
        assert!(histogram(&[]).is_empty());
    }
}
