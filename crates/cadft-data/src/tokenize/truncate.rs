//! Truncation of sequences that are too long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DropReason, Sequence, TokenizeOptions};

/// What happens to sequences with more than `max_length` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// They are dropped.
    Drop,
    /// Their first tokens are kept.
    #[default]
    Right,
    /// The start of the context before the first target is cut; a BOS and one token of context are kept. If the rest is
    /// still too long, it is cut on the right.
    LeftPrompt,
}

/// Truncates a sequence to at most `max_length` tokens; returns whether it was cut, or why it is dropped.
pub(super) fn cut(sequence: Sequence, options: &TokenizeOptions) -> Result<(Sequence, bool), DropReason> {
    let Sequence {
        mut ids,
        mut mask,
        prefix,
        lost,
    } = sequence;
    let first = mask.iter().position(|&trained| trained);
    let first = first.ok_or(DropReason::NothingTrained)?;
    let most = options.max_length;
    if ids.len() <= most {
        return Ok((
            Sequence {
                ids,
                mask,
                prefix,
                lost,
            },
            false,
        ));
    }
    match options.truncation {
        Truncation::Drop => return Err(DropReason::TooLong),
        Truncation::Right => {}
        Truncation::LeftPrompt => {
            let start = prefix.min(first);
            let most_cut = first - first.min(prefix.max(1));
            let end = start + (ids.len() - most).min(most_cut);
            ids.drain(start..end);
            mask.drain(start..end);
        }
    }
    ids.truncate(most);
    mask.truncate(most);
    if mask.contains(&true) {
        Ok((
            Sequence {
                ids,
                mask,
                prefix,
                lost,
            },
            true,
        ))
    } else {
        Err(DropReason::Truncated)
    }
}
