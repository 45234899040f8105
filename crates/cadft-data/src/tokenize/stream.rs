//! Tokenises rows while they are read; the number of rows in memory is limited.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use cadft_batch::Example;
use rayon::prelude::*;

use super::{Gathered, Report, TokenizeOptions, outcome};
use crate::error::{DataError, Problem, Problems};
use crate::row::Row;
use crate::tokenizer::{LONGEST_TEXT, Tokenizer};

/// Number of rows that are tokenised together, unless their texts exceed the size limit; and the number of such
/// portions that may wait.
const PORTION: usize = 512;
const WAITING: usize = 2;

/// A callback for the examples, in the order of their rows.
type Sink<'a> = dyn FnMut(Example) -> Result<(), DataError> + Send + 'a;

/// Tokenises rows in parallel and passes the examples to `sink` in order. Reading continues at the same time.
///
/// # Errors
/// [`DataError::Invalid`] with all problems of the files; otherwise as [`super::tokenize`]; otherwise the error of
/// `sink`.
pub(crate) fn tokenize_stream(
    rows: impl Iterator<Item = Result<Row, Problem>>,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
    sink: &mut Sink<'_>,
) -> Result<Report, DataError> {
    let mut problems = Problems::default();
    let gathered = thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        let worker = scope.spawn(move || consume(&receiver, tokenizer, options, sink));
        let (mut portion, mut bytes) = (Vec::with_capacity(PORTION), 0);
        for row in rows {
            match row {
                Ok(row) => {
                    bytes += row.content.bytes();
                    portion.push(row);
                }
                Err(problem) => problems.push(problem),
            }
            let is_full = portion.len() == PORTION || bytes >= LONGEST_TEXT;
            // The worker stops receiving only after a failure, which is reported below.
            if is_full && sender.send(std::mem::take(&mut portion)).is_err() {
                break;
            }
            bytes = if is_full { 0 } else { bytes };
        }
        let _ = sender.send(portion);
        drop(sender);
        worker.join()
    });
    let gathered = gathered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    problems.or(())?;
    gathered.finish(options)
}

fn consume(
    portions: &Receiver<Vec<Row>>,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
    sink: &mut Sink<'_>,
) -> Result<Gathered, DataError> {
    let mut gathered = Gathered::default();
    for rows in portions {
        let outcomes: Vec<_> = rows
            .par_iter()
            .map(|row| outcome(row, tokenizer, options))
            .collect();
        for (row, outcome) in rows.iter().zip(outcomes) {
            if let Some(example) = gathered.take(row, outcome)? {
                sink(example)?;
            }
        }
    }
    Ok(gathered)
}
