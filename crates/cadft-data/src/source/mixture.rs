//! Mixes several sources into one stream of rows.
//!
//! Without weights, the sources follow one another. With weights `w`, every row is drawn from source `i` with
//! probability `wᵢ / Σw`; it is the next row of that source in the order of its files. A source without a weight has
//! weight 1 if others have one. This is the behaviour of `interleave_datasets` in Hugging Face `datasets`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Source, SourceRows, error};
use crate::error::{DataError, Problem};
use crate::row::Row;

/// When the rows of a mixture end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoppingStrategy {
    /// After the last row of the first source that runs out: no row is repeated.
    #[default]
    FirstExhausted,
    /// When every source has run out at least once: every row is used, and sources that ran out start again.
    AllExhausted,
}

/// How weighted sources are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mixing {
    /// The seed of the draws.
    pub seed: u64,
    /// When the mixture ends.
    pub stopping_strategy: StoppingStrategy,
}

/// A stream of rows, with the problems of the files in their places.
pub struct Rows(Inner);

enum Inner {
    Concatenated {
        sources: Vec<SourceRows>,
        current: usize,
    },
    Mixed(Box<Mixture>),
}

struct Mixture {
    sources: Vec<Drawn>,
    /// Cumulative probabilities; the last is 1.
    bounds: Vec<f64>,
    random: ChaCha8Rng,
    /// The source of the next row, if it was drawn already.
    pending: Option<usize>,
    stopping_strategy: StoppingStrategy,
    has_ended: bool,
}

/// One source of a mixture.
struct Drawn {
    rows: SourceRows,
    /// The item that follows the last one taken.
    peeked: Option<Option<Result<Row, Problem>>>,
    has_rows: bool,
    /// Whether the source has run out before. Problems are reported in the first pass only.
    is_exhausted: bool,
}

impl Drawn {
    fn new(rows: SourceRows) -> Self {
        Self {
            rows,
            peeked: None,
            has_rows: false,
            is_exhausted: false,
        }
    }

    fn next(&mut self) -> Option<Result<Row, Problem>> {
        self.peeked.take().unwrap_or_else(|| self.rows.next())
    }

    fn has_more(&mut self) -> bool {
        let rows = &mut self.rows;
        self.peeked.get_or_insert_with(|| rows.next()).is_some()
    }

    fn restart(&mut self) {
        self.rows.restart();
        self.peeked = None;
    }
}

pub(super) fn rows(sources: &[Source], mixing: &Mixing) -> Result<Rows, DataError> {
    let streams = sources
        .iter()
        .enumerate()
        .map(|(index, source)| SourceRows::new(index, source));
    if sources.iter().all(|source| source.weight.is_none()) {
        return Ok(Rows(Inner::Concatenated {
            sources: streams.collect::<Result<_, _>>()?,
            current: 0,
        }));
    }
    if mixing.stopping_strategy == StoppingStrategy::AllExhausted
        && let Some(pipe) = sources.iter().find(|source| source.is_pipe())
    {
        let message = "this is a pipe, and a source of this mixture may be read again";
        return Err(error(pipe, message, "write it to a file first"));
    }
    let weights = sources.iter().map(weight).collect::<Result<Vec<_>, _>>()?;
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let mut bounds: Vec<_> = weights
        .iter()
        .map(|weight| {
            sum += weight / total;
            sum
        })
        .collect();
    if let Some(last) = bounds.last_mut() {
        *last = 1.0;
    }
    let sources = streams
        .map(|rows| rows.map(Drawn::new))
        .collect::<Result<_, _>>()?;
    let mut key = [0; 32];
    key[..8].copy_from_slice(&mixing.seed.to_le_bytes());
    key[8..15].copy_from_slice(b"mixture");
    Ok(Rows(Inner::Mixed(Box::new(Mixture {
        sources,
        bounds,
        random: ChaCha8Rng::from_seed(key),
        pending: None,
        stopping_strategy: mixing.stopping_strategy,
        has_ended: false,
    }))))
}

fn weight(source: &Source) -> Result<f64, DataError> {
    let weight = source.weight.unwrap_or(1.0);
    if weight.is_finite() && weight > 0.0 {
        return Ok(weight);
    }
    Err(error(
        source,
        &format!("`weight`: expected a finite number above 0, found `{weight}`"),
        "a source that is not to be read can be left out",
    ))
}

impl Iterator for Rows {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Concatenated { sources, current } => loop {
                if let Some(item) = sources.get_mut(*current)?.next() {
                    return Some(item);
                }
                *current += 1;
            },
            Inner::Mixed(mixture) => mixture.next(),
        }
    }
}

impl Mixture {
    fn next(&mut self) -> Option<Result<Row, Problem>> {
        while !self.has_ended {
            let index = self.pending.take().unwrap_or_else(|| self.draw());
            match self.sources[index].next() {
                Some(Ok(row)) => {
                    self.sources[index].has_rows = true;
                    if !self.sources[index].has_more() {
                        self.exhausted(index);
                    }
                    return Some(Ok(row));
                }
                Some(Err(problem)) => {
                    // A problem is not a row, so the draw is kept.
                    self.pending = Some(index);
                    if !self.sources[index].is_exhausted {
                        return Some(Err(problem));
                    }
                }
                None => self.exhausted(index),
            }
        }
        None
    }

    /// Draws a source with the next 53 random bits.
    fn draw(&mut self) -> usize {
        let unit = (self.random.next_u64() >> 11) as f64 * (0.5_f64).powi(53);
        let index = self.bounds.partition_point(|&bound| bound <= unit);
        index.min(self.bounds.len() - 1)
    }

    fn exhausted(&mut self, index: usize) {
        let source = &mut self.sources[index];
        source.is_exhausted = true;
        source.restart();
        let has_rows = source.has_rows;
        let all = self.sources.iter().all(|source| source.is_exhausted);
        self.has_ended = all || !has_rows || self.stopping_strategy == StoppingStrategy::FirstExhausted;
    }
}
