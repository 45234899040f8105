//! Writes the data set with its rewrites as JSON Lines. The source is only read.

use super::record::{Header, Record};
use super::replay::{Replay, replay};
use super::target::Target;
use crate::data::SampleReader;
use crate::error::TrainError;
use cadft_data::{Content, DataError, Example, Mask, Message, Row, Samples};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

/// A data set with rewrites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// The rows as JSON Lines, in the order of the source.
    pub lines: String,
    /// The rewritten rows alone, as preference pairs: prompt, the new answer as `chosen` and the one before as `rejected`.
    pub pairs: String,
    /// Number of rows.
    pub rows: usize,
    /// Number of rows with a rewrite.
    pub rewritten: usize,
    /// Number of rewritten rows that tokenise to exactly the tokens that were trained. A model may generate a text in
    /// other tokens than the tokenizer produces for it; the text is the same.
    pub same_tokens: usize,
    /// Number of rounds in the log whose data set was verified.
    pub rounds: usize,
    /// SHA-256 of the data set with its rewrites, computed as for rounds in the log.
    pub sha256: String,
}

/// Applies a log to its data; `reader` must read as the log's header specifies ([`Header::recipe`]).
///
/// A row of a `.jsonl` file is copied byte for byte, unless it was rewritten; a rewritten row keeps its other keys.
/// Rows of other formats are written as `messages`, or as `prompt` and `completion`.
///
/// # Errors
/// Data that cannot be read, and data that do not match the log.
pub fn export(
    records: &[Record],
    header: &Header,
    reader: &SampleReader,
) -> Result<ExportSummary, TrainError> {
    let (rows, dataset) = reader.rows_and_samples(&header.data.train)?;
    let source = Samples::from(dataset);
    let stop = reader.tokenizer().stop_token_ids();
    let Replay { examples, rounds } = replay(records, &source, stop)?;
    let mut summary = ExportSummary {
        rows: rows.len(),
        rewritten: examples.len(),
        rounds,
        sha256: super::digest(&source, &examples),
        ..ExportSummary::default()
    };
    let by_row: BTreeMap<usize, (Example, &Example)> = (examples.iter())
        .map(|(&sample, rewritten)| (source.get(sample), rewritten))
        .map(|(source, rewritten)| (source.origin.row, (source, rewritten)))
        .collect();
    let mut files: BTreeMap<&str, Option<Vec<String>>> = BTreeMap::new();
    for (number, row) in rows.iter().enumerate() {
        let lines = match files.entry(&row.file) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(lines(Path::new(&*row.file))?),
        };
        let raw = (lines.as_ref()).and_then(|lines| lines.get(row.line.checked_sub(1)?));
        let line = match by_row.get(&number) {
            Some((source, rewritten)) => {
                let (line, new) = edited(row, raw, (source, rewritten), reader)?;
                if let Some(pair) = pair(row, &new) {
                    summary.pairs.push_str(&Value::Object(pair).to_string());
                    summary.pairs.push('\n');
                }
                summary.same_tokens += usize::from(has_tokens_of(new, rewritten, reader)?);
                line
            }
            None => raw
                .cloned()
                .unwrap_or_else(|| Value::Object(fields(row)).to_string()),
        };
        summary.lines.push_str(&line);
        summary.lines.push('\n');
    }
    Ok(summary)
}

/// A rewritten row as a preference pair, as `DPOTrainer` of TRL reads it; `None` if its answer is the same.
fn pair(old: &Row, new: &Row) -> Option<Map<String, Value>> {
    let mut keys = Map::new();
    keys.insert("id".to_owned(), json!(old.id));
    let mut insert = |prompt: Value, chosen: Value, rejected: Value| {
        keys.insert("prompt".to_owned(), prompt);
        keys.insert("chosen".to_owned(), chosen);
        keys.insert("rejected".to_owned(), rejected);
    };
    match (&old.content, &new.content) {
        (
            Content::Messages {
                messages: old, tools, ..
            },
            Content::Messages { messages: new, .. },
        ) => {
            let turn = old
                .iter()
                .zip(new)
                .position(|(old, new)| json!(old) != json!(new))?;
            insert(json!(old[..turn]), json!([new[turn]]), json!([old[turn]]));
            if !tools.is_empty() {
                keys.insert("tools".to_owned(), json!(tools));
            }
        }
        (
            Content::PromptCompletion { prompt, completion },
            Content::PromptCompletion {
                prompt: shorter,
                completion: chosen,
            },
        ) => {
            // A token that straddles the seam was rewritten: its text belongs to both answers.
            let rejected = format!("{}{completion}", prompt.strip_prefix(shorter.as_str())?);
            if rejected == *chosen {
                return None;
            }
            insert(json!(shorter), json!(chosen), json!(rejected));
        }
        _ => return None,
    }
    Some(keys)
}

/// Whether a written row tokenises to the tokens that were trained.
fn has_tokens_of(row: Row, rewritten: &Example, reader: &SampleReader) -> Result<bool, TrainError> {
    match reader.tokenize(&[row]) {
        Ok(again) => Ok((again.examples.first()).is_some_and(|again| again.token_ids == rewritten.token_ids)),
        // The tokenizer may need more tokens than the model generated, so that the row is too long.
        Err(DataError::NothingToTrain { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The lines of a `.jsonl` file; `None` for other formats, and for compressed files of any name.
fn lines(path: &Path) -> Result<Option<Vec<String>>, TrainError> {
    if path.extension().is_none_or(|extension| extension != "jsonl") {
        return Ok(None);
    }
    let bytes = cadft_files::read(path).map_err(TrainError::io(path))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(None);
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(Some(text.lines().map(str::to_owned).collect()))
}

/// The line of a rewritten row, and the row that results from reading it.
fn edited(
    row: &Row,
    raw: Option<&String>,
    (source, rewritten): (&Example, &Example),
    reader: &SampleReader,
) -> Result<(String, Row), TrainError> {
    let (content, turn) = content(row, source, rewritten, reader)?;
    let row = Row {
        content,
        ..row.clone()
    };
    let raw = raw.and_then(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    let kept = raw.and_then(|mut keys| overwrite(&mut keys, &row.content, turn).then_some(keys));
    let mut keys = kept.unwrap_or_else(|| fields(&row));
    // The id of a row without one is derived from its content, which has changed.
    keys.entry("id").or_insert_with(|| Value::from(row.id.clone()));
    Ok((Value::Object(keys).to_string(), row))
}

/// The content of a row with its rewrite, and the index of the rewritten turn in a conversation.
fn content(
    row: &Row,
    source: &Example,
    rewritten: &Example,
    reader: &SampleReader,
) -> Result<(Content, usize), TrainError> {
    let (tokenizer, mask) = (reader.tokenizer(), reader.options().mask);
    let stop = tokenizer.stop_token_ids();
    let misfit = || {
        TrainError::mismatch(
            format!("row `{}` cannot be rewritten", row.id),
            "use the data and the model of the run",
        )
    };
    let text = |example: &Example| {
        let target = Target::of(example, stop).ok_or_else(misfit)?;
        Ok::<_, TrainError>(Target::text(
            target.prompt(example),
            &example.token_ids[target.tokens.clone()],
            tokenizer,
        )?)
    };
    let (old, new) = (text(source)?, text(rewritten)?);
    match &row.content {
        Content::Messages {
            messages,
            tools,
            trained_from,
        } => {
            let turn = turn(messages, *trained_from, mask, source).ok_or_else(misfit)?;
            let mut messages = messages.clone();
            messages[turn] = Message::new("assistant", &new);
            let content = Content::Messages {
                messages,
                tools: tools.clone(),
                trained_from: *trained_from,
            };
            Ok((content, turn))
        }
        Content::PromptCompletion { prompt, completion } => {
            // A token across the boundary of prompt and completion was trained, and rewritten with the completion.
            let seam = old.strip_suffix(completion.as_str()).unwrap_or_default();
            let (prompt, completion) = match new.strip_prefix(seam) {
                Some(completion) => (prompt.as_str(), completion),
                None => (prompt.strip_suffix(seam).ok_or_else(misfit)?, new.as_str()),
            };
            let content = Content::PromptCompletion {
                prompt: prompt.to_owned(),
                completion: completion.to_owned(),
            };
            Ok((content, 0))
        }
        Content::Text(_) => Err(misfit()),
    }
}

/// The index of the turn with the last trained tokens. If the sample was cut, this is not the last turn.
fn turn(messages: &[Message], trained_from: Option<usize>, mask: Mask, source: &Example) -> Option<usize> {
    let turns: Vec<usize> = (trained_from.unwrap_or(0)..messages.len())
        .filter(|&turn| messages[turn].is_assistant() && messages[turn].is_trained())
        .collect();
    let only_last = mask == Mask::LastTurn || mask == Mask::Completion && trained_from.is_none();
    if only_last {
        return turns.last().copied();
    }
    let starts = source
        .loss_mask
        .windows(2)
        .filter(|pair| !pair[0] && pair[1])
        .count();
    turns.get(starts.min(turns.len()).checked_sub(1)?).copied()
}

/// Writes the new content into the keys of the source row. Returns false if the keys have another format.
fn overwrite(keys: &mut Map<String, Value>, content: &Content, turn: usize) -> bool {
    let mut set = |key: &str, turn: usize, length: usize, message: &Message| {
        let list = keys.get_mut(key).and_then(Value::as_array_mut);
        let place = list
            .filter(|list| list.len() == length)
            .and_then(|list| list.get_mut(turn));
        place.map(|place| *place = json!(message)).is_some()
    };
    match content {
        Content::Messages {
            messages,
            trained_from: None,
            ..
        } => set("messages", turn, messages.len(), &messages[turn]),
        Content::Messages {
            messages,
            trained_from: Some(from),
            ..
        } => set("completion", turn - from, messages.len() - from, &messages[turn]),
        Content::PromptCompletion { prompt, completion } => {
            let is_text = ["prompt", "completion"]
                .iter()
                .all(|key| keys.get(*key).is_some_and(Value::is_string));
            if is_text {
                keys.insert("prompt".to_owned(), json!(prompt));
                keys.insert("completion".to_owned(), json!(completion));
            }
            is_text
        }
        Content::Text(_) => false,
    }
}

/// A row in the format of this crate.
fn fields(row: &Row) -> Map<String, Value> {
    let mut keys = Map::new();
    let mut insert = |key: &str, value: Value| keys.insert(key.to_owned(), value);
    insert("id", json!(row.id));
    match &row.content {
        Content::Messages {
            messages,
            tools,
            trained_from,
        } => {
            match trained_from {
                None => insert("messages", json!(messages)),
                Some(from) => {
                    insert("prompt", json!(messages[..*from]));
                    insert("completion", json!(messages[*from..]))
                }
            };
            if !tools.is_empty() {
                insert("tools", json!(tools));
            }
        }
        Content::PromptCompletion { prompt, completion } => {
            insert("prompt", json!(prompt));
            insert("completion", json!(completion));
        }
        Content::Text(text) => {
            insert("text", json!(text));
        }
    }
    if let Some(answer) = &row.answer {
        insert("answer", json!(answer));
    }
    if row.weight != 1.0 {
        insert("weight", json!(row.weight));
    }
    keys
}
