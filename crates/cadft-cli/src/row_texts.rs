//! The questions and answers of rows by id, read again from the sources of a run.
//!
//! For display only: rows that no longer exist, and ids that several rows share, have no text.

use cadft_data::{Content, Message, Mixing, Row, Source, rows};
use cadft_train::data::on_disk;
use std::collections::{HashMap, HashSet};

/// Largest number of rows to search.
const MOST: usize = 200_000;

/// The texts of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowText {
    /// The last question; `None` for plain text.
    pub(crate) question: Option<String>,
    /// The answer.
    pub(crate) answer: String,
}

impl RowText {
    fn of(row: &Row) -> Self {
        let (question, answer) = question_and_answer(row);
        Self {
            question: question.map(str::to_owned),
            answer: answer.to_owned(),
        }
    }
}

/// The last question of a row, and its answer.
pub(crate) fn question_and_answer(row: &Row) -> (Option<&str>, &str) {
    match &row.content {
        Content::Messages { messages, .. } => {
            let answer = messages.iter().rposition(Message::is_assistant).unwrap_or(0);
            let question = messages[..answer].last().map(Message::content);
            (question, messages.get(answer).map_or("", Message::content))
        }
        Content::PromptCompletion { prompt, completion } => (Some(prompt), completion),
        Content::Text(text) => (None, text),
    }
}

/// The texts of the rows with these ids; rows of sources that no longer exist are missing.
pub(crate) fn row_texts(
    sources: &[Source],
    mixing: &Mixing,
    ids: &HashSet<&str>,
) -> HashMap<String, RowText> {
    let mut found: HashMap<String, Option<RowText>> = HashMap::new();
    if ids.is_empty() {
        return HashMap::new();
    }
    let Ok(rows) = on_disk(sources).and_then(|sources| Ok(rows(&sources, mixing)?)) else {
        return HashMap::new();
    };
    for row in rows
        .take(MOST)
        .flatten()
        .filter(|row| ids.contains(row.id.as_str()))
    {
        let text = RowText::of(&row);
        let known = found.entry(row.id).or_insert_with(|| Some(text.clone()));
        // Two rows share the id, so neither text can be attributed.
        known.take_if(|known| *known != text);
    }
    found
        .into_iter()
        .filter_map(|(id, text)| Some((id, text?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_ids_that_only_one_of_them_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.jsonl");
        let row = |id: &str, answer: &str| {
            format!("{{\"id\": \"{id}\", \"prompt\": \"q\", \"completion\": \"{answer}\"}}\n")
        };
        let lines = [
            row("a", "1"),
            row("b", "2"),
            row("b", "3"),
            row("c", "4"),
            row("c", "4"),
        ];
        std::fs::write(&path, lines.concat()).unwrap();
        let sources = [Source::new(path.to_string_lossy())];
        let texts = row_texts(&sources, &Mixing::default(), &HashSet::from(["a", "b", "c", "d"]));
        let text = |answer: &str| RowText {
            question: Some("q".to_owned()),
            answer: answer.to_owned(),
        };
        assert_eq!(
            texts,
            HashMap::from([("a".to_owned(), text("1")), ("c".to_owned(), text("4"))])
        );
        let gone = [Source::new("nowhere.jsonl")];
        assert!(row_texts(&gone, &Mixing::default(), &HashSet::from(["a"])).is_empty());
    }
}
