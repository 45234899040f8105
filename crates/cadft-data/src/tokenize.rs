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

mod check;
mod lost;
mod origin;
mod report;
mod spans;
mod stream;
mod truncate;
mod turns;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Problems, RowProblem};
use crate::row::{Content, Message, Row};
use crate::template::{self, GenerationPrompt};
use crate::tokenizer::{Encoded, LONGEST_TEXT, Tokenizer};
pub use check::check_rows;
pub use lost::Part;
pub use origin::Origin;
pub use report::{DropReason, DroppedSample, Report, SourceReport};
use spans::{Conversation, Masked};
pub(crate) use stream::tokenize_stream;
pub use truncate::Truncation;
use turns::trained_turns;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TokenizeOptions {
    /// Most tokens of a sequence.
    pub max_length: usize,
    /// What happens to longer ones.
    pub truncation: Truncation,
    /// Which tokens are targets.
    pub mask: Mask,
}

impl TokenizeOptions {
    /// These options with the first `max_length` tokens kept of longer sequences.
    pub fn new(max_length: usize, mask: Mask) -> Self {
        Self {
            max_length,
            truncation: Truncation::Right,
            mask,
        }
    }
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
    /// Where its row was read; nothing that is computed depends on it.
    pub origin: Origin,
}

impl Example {
    /// How many tokens are targets.
    pub fn supervised(&self) -> usize {
        self.loss_mask.iter().filter(|&&trained| trained).count()
    }
}

/// Examples in the order of their rows, and what happened to the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The examples, each with at least one target.
    pub examples: Vec<Example>,
    /// What was kept, cut and dropped.
    pub report: Report,
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

/// Rows in portions of the text that is tokenised at a time, as each thread takes memory for its own.
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

/// The text that a model continues from to answer a row, with the opening of the answer: the `prompt`, or the
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
    /// How many ids at the start belong to every sequence (a BOS).
    prefix: usize,
    /// What of the row the chat template does not show.
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

/// The first token of a text that is trained from byte `seam` on. A token that straddles the seam is trained, but for
/// an added one (`<|assistant|>` that takes in whitespace on its right): such a token is what the model is prompted
/// with.
fn first_trained(encoded: &Encoded, seam: usize, tokenizer: &Tokenizer) -> usize {
    let Encoded { ids, offsets } = encoded;
    let first = offsets.partition_point(|&(_, end)| end <= seam);
    let is_prompt =
        offsets.get(first).is_some_and(|&(start, _)| start < seam) && tokenizer.is_added(ids[first]);
    first + usize::from(is_prompt)
}

/// A text and its end-of-sequence token; trained from byte `seam` on.
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

/// What happened to one row.
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

/// What happened to the rows so far, and everything that is wrong with them.
#[derive(Default)]
struct Gathered {
    /// Rows so far.
    rows: usize,
    report: Report,
    problems: Problems<RowProblem>,
    /// What to do about the first problem.
    hint: Option<String>,
}

impl Gathered {
    /// Takes in one row; its example, if there is one.
    fn take(&mut self, row: &Row, outcome: Result<Outcome, DataError>) -> Result<Option<Example>, DataError> {
        let number = self.rows;
        self.rows += 1;
        match outcome {
            Ok(Outcome::Kept {
                mut example,
                was_cut,
                lost,
            }) => {
                example.origin = Origin::new(row, number);
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
