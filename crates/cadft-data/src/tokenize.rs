//! Turns rows into token ids with a loss mask.
//!
//! What is trained:
//! - `messages`: the rendered text is tokenised once, without added special tokens, as the template writes them.
//!   An assistant turn is trained from the end of its generation prompt to its stop token, that token included.
//! - `prompt` and `completion`: both together and the end-of-sequence token, tokenised once. The completion and
//!   its end are trained.
//! - `text`: everything, with the end-of-sequence token.
//!
//! A token that straddles the seam between context and trained text is trained. Where the tokenizer puts a BOS
//! before a text, the sequence starts with exactly one, whether or not the template or the row wrote it: that is
//! decided on the ids of the rendered text. A sequence that ends with the end-of-sequence token already does not
//! get a second one. The first token of a sequence is never a target.

mod spans;

use std::fmt;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, RowProblem};
use crate::row::{Content, Message, Row};
use crate::template::{self, GenerationPrompt};
use crate::tokenizer::Tokenizer;
use spans::Conversation;

/// Which tokens are targets. Only `all` changes what is trained of strings; `text` is always trained whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// Every assistant turn, those of a `prompt` of messages excepted.
    #[default]
    Assistant,
    /// The last assistant turn.
    LastTurn,
    /// What follows the prompt: every assistant turn of a `completion` of messages, the last one of `messages`.
    Completion,
    /// Every token but the first, context and template text included.
    All,
}

/// How rows become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Longer sequences keep their first `max_length` tokens.
    pub max_length: usize,
    /// Which tokens are targets.
    pub mask: Mask,
}

/// A tokenised row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The row's id.
    pub id: String,
    /// A multiplier of its loss.
    pub weight: f64,
    /// The tokens.
    pub token_ids: Vec<u32>,
    /// Whether each token is a target, learned from the tokens before it.
    pub loss_mask: Vec<bool>,
    /// How many tokens come before the first target.
    pub prompt_len: usize,
    /// The reference answer for evaluation by generation.
    pub answer: Option<String>,
}

impl Example {
    /// How many tokens are targets.
    pub fn supervised(&self) -> usize {
        self.loss_mask.iter().filter(|&&trained| trained).count()
    }
}

/// Examples in the order of their rows, and what became of the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The examples, each with at least one target.
    pub examples: Vec<Example>,
    /// What was kept, cut and dropped.
    pub report: Report,
}

/// What became of the rows of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Rows given.
    pub rows: usize,
    /// Examples made of them.
    pub kept: usize,
    /// Examples that were cut to `max_length`, of those kept.
    pub truncated: usize,
    /// Rows without a single target.
    pub dropped: Vec<DroppedSample>,
    /// Tokens of all examples.
    pub tokens: usize,
    /// Targets of all examples.
    pub supervised: usize,
    /// Tokens of the longest example.
    pub longest: usize,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedSample {
    /// The row's id.
    pub id: String,
    /// Its line in the file it came from.
    pub line: usize,
    /// Why.
    pub reason: DropReason,
}

/// Why a row was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// All its targets lie beyond `max_length`.
    Truncated,
    /// The mask selects none of its tokens.
    NothingTrained,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "every trained token lies beyond the maximum length",
            Self::NothingTrained => "the mask selects no token",
        })
    }
}

/// Tokenises rows, in parallel and in order.
///
/// # Errors
/// [`DataError::Rows`] with every row that cannot be rendered or masked, [`DataError::NothingToTrain`] when no row
/// has a target, [`DataError::Tokenizer`] when the tokenizer lacks what a row needs.
pub fn tokenize(
    rows: &[Row],
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Dataset, DataError> {
    let sequences: Vec<_> = rows
        .par_iter()
        .map(|row| sequence(row, tokenizer, options.mask))
        .collect();
    let mut report = Report {
        rows: rows.len(),
        ..Report::default()
    };
    let (mut examples, mut problems, mut hints) = (Vec::new(), Vec::new(), Vec::new());
    for (row, sequence) in rows.iter().zip(sequences) {
        match sequence {
            Ok(sequence) => examples.extend(example(row, sequence, options.max_length, &mut report)),
            Err(DataError::Conversation { message, hint }) => {
                problems.push(RowProblem::new(row, message));
                hints.push(hint);
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(hint) = hints.into_iter().next() {
        return Err(DataError::Rows { problems, hint });
    }
    if examples.is_empty() {
        return Err(nothing_to_train(&report, options));
    }
    Ok(Dataset { examples, report })
}

/// The text that a model goes on from to answer a row, with the opening of the answer: the `prompt`, or the
/// messages before the last one where that is an assistant's, else all of them.
///
/// # Errors
/// [`DataError::Conversation`] for a `text` row, which has no prompt, and as [`Tokenizer::render_chat`].
pub fn prompt_text(row: &Row, tokenizer: &Tokenizer) -> Result<String, DataError> {
    match &row.content {
        Content::Messages {
            messages,
            tools,
            trained_from,
        } => {
            let ends_with_answer = messages.last().is_some_and(Message::is_assistant);
            let end = trained_from.unwrap_or(messages.len() - usize::from(ends_with_answer));
            let values = template::values(&messages[..end.min(messages.len())]);
            tokenizer
                .chat_template()?
                .render_values(&values, tools, GenerationPrompt::Add)
        }
        Content::PromptCompletion { prompt, .. } => Ok(prompt.clone()),
        Content::Text(_) => Err(DataError::Conversation {
            message: format!(
                "row `{}` (line {}): a `text` row has no prompt to answer",
                row.id, row.line
            ),
            hint: "use rows with `messages`, or with `prompt` and `completion`".to_owned(),
        }),
    }
}

/// The ids of [`prompt_text`], with a BOS by the same rule as in training.
///
/// # Errors
/// As [`prompt_text`], and [`DataError::Encoding`].
pub fn prompt_ids(row: &Row, tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
    let mut ids = tokenizer.encode_plain(&prompt_text(row, tokenizer)?)?;
    ids.splice(0..0, tokenizer.missing_prefix(&ids).to_vec());
    Ok(ids)
}

/// Token ids and their loss mask, before truncation.
struct Sequence {
    ids: Vec<u32>,
    mask: Vec<bool>,
}

fn sequence(row: &Row, tokenizer: &Tokenizer, mask: Mask) -> Result<Sequence, DataError> {
    let mut sequence = match &row.content {
        Content::Messages {
            messages,
            tools,
            trained_from,
        } => {
            let conversation = Conversation::new(messages, tools, tokenizer)?;
            let turns = trained_turns(messages, *trained_from, mask);
            let (ids, trained) = conversation.tokenize(turns.as_deref())?;
            Sequence { ids, mask: trained }
        }
        Content::PromptCompletion { prompt, completion } => {
            let seam = if mask == Mask::All { 0 } else { prompt.len() };
            closed_text(&format!("{prompt}{completion}"), seam, tokenizer)?
        }
        Content::Text(text) => closed_text(text, 0, tokenizer)?,
    };
    let prefix = tokenizer.missing_prefix(&sequence.ids).to_vec();
    sequence.mask.splice(0..0, vec![mask == Mask::All; prefix.len()]);
    sequence.ids.splice(0..0, prefix);
    if let Some(first) = sequence.mask.first_mut() {
        *first = false;
    }
    Ok(sequence)
}

/// The assistant turns a mask selects, or nothing where it selects every token.
fn trained_turns(messages: &[Message], trained_from: Option<usize>, mask: Mask) -> Option<Vec<usize>> {
    let from = trained_from.unwrap_or(0);
    let mut turns = (from..messages.len()).filter(|&index| messages[index].is_assistant());
    match mask {
        Mask::All => None,
        Mask::Completion if trained_from.is_none() => Some(turns.next_back().into_iter().collect()),
        Mask::LastTurn => Some(turns.next_back().into_iter().collect()),
        Mask::Assistant | Mask::Completion => Some(turns.collect()),
    }
}

/// A text and its end-of-sequence token; trained from byte `seam` on.
fn closed_text(text: &str, seam: usize, tokenizer: &Tokenizer) -> Result<Sequence, DataError> {
    let eos = tokenizer.eos_token_id().ok_or_else(|| DataError::Tokenizer {
        file: "tokenizer_config.json: eos_token".to_owned(),
        message: "the tokenizer has no end-of-sequence token".to_owned(),
        hint: "what is trained must end with one, or the model never stops".to_owned(),
    })?;
    let encoded = tokenizer.encode(text)?;
    let mut ids = encoded.ids;
    let first = encoded
        .offsets
        .iter()
        .position(|&(_, end)| end > seam)
        .unwrap_or(ids.len());
    if ids.last() != Some(&eos) {
        ids.push(eos);
    }
    let mask = (0..ids.len()).map(|index| index >= first).collect();
    Ok(Sequence { ids, mask })
}

/// Cuts a sequence and enters it into the report; nothing where no target is left.
fn example(row: &Row, sequence: Sequence, max_length: usize, report: &mut Report) -> Option<Example> {
    let Sequence { mut ids, mut mask } = sequence;
    let is_cut = ids.len() > max_length;
    let had_targets = mask.contains(&true);
    ids.truncate(max_length);
    mask.truncate(max_length);
    let Some(prompt_len) = mask.iter().position(|&trained| trained) else {
        let reason = if had_targets {
            DropReason::Truncated
        } else {
            DropReason::NothingTrained
        };
        report.dropped.push(DroppedSample {
            id: row.id.clone(),
            line: row.line,
            reason,
        });
        return None;
    };
    let example = Example {
        id: row.id.clone(),
        weight: row.weight,
        token_ids: ids,
        loss_mask: mask,
        prompt_len,
        answer: row.answer.clone(),
    };
    report.kept += 1;
    report.truncated += usize::from(is_cut);
    report.tokens += example.token_ids.len();
    report.supervised += example.supervised();
    report.longest = report.longest.max(example.token_ids.len());
    Some(example)
}

fn nothing_to_train(report: &Report, options: &TokenizeOptions) -> DataError {
    let truncated = report
        .dropped
        .iter()
        .filter(|sample| sample.reason == DropReason::Truncated)
        .count();
    let max_length = options.max_length;
    DataError::NothingToTrain {
        message: format!(
            "{} rows, {truncated} of them trained only beyond `max-length` {max_length}, {} without a trained token",
            report.rows,
            report.dropped.len() - truncated,
        ),
        hint: if truncated > 0 {
            "raise `max-length`, or shorten the prompts".to_owned()
        } else {
            "the rows need assistant turns, or another `mask`".to_owned()
        },
    }
}
