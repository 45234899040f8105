//! Converts rows to token ids with a loss mask.
//!
//! What is trained:
//! - `messages`: the rendered text is tokenised once, without adding special tokens; the template writes them.
//!   An assistant turn is trained from the end of its generation prompt up to and including its stop token.
//! - `prompt` and `completion`: both texts and the end-of-sequence token are tokenised together. The completion and
//!   its end are trained.
//! - `text`: everything is trained, with the end-of-sequence token.
//!
//! A token that overlaps the seam between context and trained text is trained. If the tokenizer puts a BOS before
//! texts, the sequence starts with exactly one, even if the template or the row wrote one already: this is decided on
//! the ids of the rendered text. A sequence that ends with the end-of-sequence token does not get a second one. The
//! first token of a sequence is never a target.

mod check;
mod lost;
mod report;
mod spans;
mod stream;
mod truncate;
mod turns;

use std::sync::Arc;

use cadft_batch::{Example, Origin};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Problems, RowProblem};
use crate::row::{Content, Message, Row};
use crate::template::{self, GenerationPrompt};
use crate::tokenizer::{Encoded, LONGEST_TEXT, Tokenizer};
pub use check::check_rows;
pub use lost::Part;
pub use report::{DropReason, DroppedSample, Report, SourceReport};
use spans::{Conversation, Masked};
pub(crate) use stream::tokenize_stream;
pub use truncate::Truncation;
use turns::trained_turns;

/// Which tokens are targets. For rows of strings only `all` makes a difference; `text` is always trained in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// Every assistant turn, except those in a `prompt` of messages.
    #[default]
    Assistant,
    /// The last assistant turn.
    LastTurn,
    /// The text after the prompt: every assistant turn of a `completion` of messages, the last one of `messages`.
    Completion,
    /// Every token except the first, including context and template text.
    All,
}

/// How rows are converted to tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TokenizeOptions {
    /// Largest number of tokens in a sequence.
    pub max_length: usize,
    /// What happens to longer sequences.
    pub truncation: Truncation,
    /// Which tokens are targets.
    pub mask: Mask,
}

impl TokenizeOptions {
    /// Options that keep the first `max_length` tokens of longer sequences.
    pub fn new(max_length: usize, mask: Mask) -> Self {
        Self {
            max_length,
            truncation: Truncation::Right,
            mask,
        }
    }
}

/// Examples in the order of their rows, and a report on all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The examples, each with at least one target.
    pub examples: Vec<Example>,
    /// What was kept, truncated and dropped.
    pub report: Report,
}

/// Tokenises rows in parallel; the examples are in the order of the rows.
///
/// # Errors
/// [`DataError::Rows`] with every row that cannot be rendered or masked, [`DataError::NothingToTrain`] if no row has a
/// target, [`DataError::Tokenizer`] if the tokenizer lacks something that a row needs.
pub fn tokenize(
    rows: &[Row],
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Dataset, DataError> {
    let mut examples = Vec::with_capacity(rows.len());
    let mut gathered = Gathered::default();
    for rows in portions(rows) {
        let outcomes: Vec<_> = rows
            .par_iter()
            .map(|row| outcome(row, tokenizer, options))
            .collect();
        for (row, outcome) in rows.iter().zip(outcomes) {
            examples.extend(gathered.take(row, outcome)?);
        }
    }
    let report = gathered.finish(options)?;
    Ok(Dataset { examples, report })
}

/// Splits rows into portions of limited text size, because each thread needs memory for its portion.
fn portions(mut rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let end = rows.iter().position(|row| {
            bytes += row.content.bytes();
            bytes >= LONGEST_TEXT
        });
        let (portion, rest) = rows.split_at(end.map_or(rows.len(), |end| end + 1));
        rows = rest;
        (!portion.is_empty()).then_some(portion)
    })
}

/// The text that a model continues to answer a row, including the opening of the answer. It is made from the `prompt`,
/// or from the messages without a final assistant message.
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
                .row_template(tools, &row.template_variables)?
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

/// Token ids and their loss mask.
struct Sequence {
    ids: Vec<u32>,
    mask: Vec<bool>,
    /// Number of ids at the start that every sequence has (a BOS).
    prefix: usize,
    /// The parts of the row that the chat template does not show.
    lost: Vec<Part>,
}

fn sequence(row: &Row, tokenizer: &Tokenizer, mask: Mask) -> Result<Sequence, DataError> {
    let mut sequence = match &row.content {
        Content::Messages {
            messages,
            tools,
            trained_from,
        } => {
            let conversation = Conversation::new(messages, tools, &row.template_variables, tokenizer)?;
            let turns = trained_turns(messages, *trained_from, mask)?;
            let Masked { ids, mask, lost } = conversation.tokenize(turns.as_deref())?;
            Sequence {
                ids,
                mask,
                prefix: 0,
                lost,
            }
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
    sequence.prefix = tokenizer.prefix_len();
    if let Some(first) = sequence.mask.first_mut() {
        *first = false;
    }
    Ok(sequence)
}

/// The first trained token of a text that is trained from byte `seam` on. A token that overlaps the seam is trained,
/// unless it is an added token (`<|assistant|>` with whitespace on its right): such a token is part of the prompt.
fn first_trained(encoded: &Encoded, seam: usize, tokenizer: &Tokenizer) -> usize {
    let Encoded { ids, offsets } = encoded;
    let first = offsets.partition_point(|&(_, end)| end <= seam);
    let is_prompt =
        offsets.get(first).is_some_and(|&(start, _)| start < seam) && tokenizer.is_added(ids[first]);
    first + usize::from(is_prompt)
}

/// Tokenises a text with its end-of-sequence token; it is trained from byte `seam` on.
fn closed_text(text: &str, seam: usize, tokenizer: &Tokenizer) -> Result<Sequence, DataError> {
    let eos = tokenizer.eos_token_id().ok_or_else(|| DataError::Tokenizer {
        file: "tokenizer_config.json: eos_token".to_owned(),
        message: "the tokenizer has no end-of-sequence token".to_owned(),
        hint: "what is trained must end with one, or the model never stops".to_owned(),
    })?;
    let encoded = tokenizer.encode(text)?;
    let first = first_trained(&encoded, seam, tokenizer);
    let mut ids = encoded.ids;
    if ids.last() != Some(&eos) {
        ids.push(eos);
    }
    let mask = (0..ids.len()).map(|index| index >= first).collect();
    Ok(Sequence {
        ids,
        mask,
        prefix: 0,
        lost: Vec::new(),
    })
}

/// The outcome of one row.
enum Outcome {
    Kept {
        example: Example,
        was_cut: bool,
        lost: Vec<Part>,
    },
    Dropped(DropReason),
}

fn outcome(row: &Row, tokenizer: &Tokenizer, options: &TokenizeOptions) -> Result<Outcome, DataError> {
    let sequence = sequence(row, tokenizer, options.mask)?;
    Ok(match truncate::cut(sequence, options) {
        Ok((Sequence { ids, mask, lost, .. }, was_cut)) => Outcome::Kept {
            example: Example {
                id: row.id.clone(),
                weight: row.weight,
                prompt_len: mask.iter().position(|&trained| trained).unwrap_or(mask.len()),
                token_ids: ids,
                loss_mask: mask,
                answer: row.answer.clone(),
                origin: Origin::default(),
            },
            was_cut,
            lost,
        },
        Err(reason) => Outcome::Dropped(reason),
    })
}

/// Where `row` was read, at position `number` among all rows.
fn origin_of(row: &Row, number: usize) -> Origin {
    Origin {
        source: row.source,
        row: number,
        path: Arc::clone(&row.file),
        line: row.line,
    }
}

/// The report on the rows so far, and their problems.
#[derive(Default)]
struct Gathered {
    /// Number of rows so far.
    rows: usize,
    report: Report,
    problems: Problems<RowProblem>,
    /// The hint for the first problem.
    hint: Option<String>,
}

impl Gathered {
    /// Adds the outcome of one row; returns its example, if there is one.
    fn take(&mut self, row: &Row, outcome: Result<Outcome, DataError>) -> Result<Option<Example>, DataError> {
        let number = self.rows;
        self.rows += 1;
        match outcome {
            Ok(Outcome::Kept {
                mut example,
                was_cut,
                lost,
            }) => {
                example.origin = origin_of(row, number);
                self.report.keep(row, &example, was_cut);
                self.report.lose(&lost);
                return Ok(Some(example));
            }
            Ok(Outcome::Dropped(reason)) => self.report.drop(row, reason),
            Err(DataError::Conversation { message, hint }) => {
                self.problems.push(RowProblem::new(row, message));
                self.hint.get_or_insert(hint);
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn finish(self, options: &TokenizeOptions) -> Result<Report, DataError> {
        let Self {
            report,
            problems,
            hint,
            ..
        } = self;
        match hint {
            Some(hint) => {
                let (problems, more) = problems.into_parts();
                Err(DataError::Rows { problems, more, hint })
            }
            None if report.kept == 0 => Err(report.nothing_to_train(options)),
            None => Ok(report),
        }
    }
}
