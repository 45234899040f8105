//! Checks single rows.

use rayon::prelude::*;

use super::turns::check_turns;
use super::{Outcome, Part, TokenizeOptions, outcome};
use crate::error::DataError;
use crate::row::Row;
use crate::tokenizer::Tokenizer;

/// For each row, the parts that its chat template does not show, or what is wrong with it. Checks that something is
/// trained and, with a tokenizer, that the row can be rendered and masked.
///
/// # Errors
/// [`DataError::Tokenizer`] if the tokenizer lacks something that a row needs; [`DataError::Encoding`].
pub fn check_rows(
    rows: &[Row],
    tokenizer: Option<&Tokenizer>,
    options: &TokenizeOptions,
) -> Result<Vec<Result<Vec<Part>, String>>, DataError> {
    let check = |row: &Row| {
        check_turns(row, options.mask)?;
        let Some(tokenizer) = tokenizer else {
            return Ok(Ok(Vec::new()));
        };
        Ok(match outcome(row, tokenizer, options)? {
            Outcome::Kept { lost, .. } => Ok(lost),
            Outcome::Dropped(reason) => Err(format!("nothing to train: {reason}")),
        })
    };
    let checked = rows.par_iter().map(|row| match check(row) {
        Err(DataError::Conversation { message, .. }) => Ok(Err(message)),
        other => other,
    });
    checked.collect()
}
