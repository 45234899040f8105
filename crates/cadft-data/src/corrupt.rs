//! Planted noise: a fraction of the rows gets a wrong answer, and every row records whether it did.
//!
//! The seed determines the rows, the kinds of noise and all random choices. The text that is made wrong is the last
//! trained turn, or the completion. The output is JSON Lines with the key `planted`: the kind of noise, or `none`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use cadft_batch::{Order, epoch_order};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::json;

use crate::convert::record_of;
use crate::error::{DataError, Problem, Problems};
use crate::format::Format;
use crate::row::{Content, Row};
use crate::source::{Mixing, Source, read_rows};

/// The key that records the planted noise.
const KEY: &str = "planted";
/// The value of this key in an unchanged row.
const NONE: &str = "none";

/// A kind of noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// The answer of another row.
    Swap,
    /// Every digit is replaced by another digit.
    Numbers,
    /// Half of the words are replaced by words of other answers.
    Words,
    /// Only the first half of the answer.
    Cut,
}

impl Noise {
    /// All kinds of noise.
    pub const ALL: [Self; 4] = [Self::Swap, Self::Numbers, Self::Words, Self::Cut];

    /// The name in rows and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Numbers => "numbers",
            Self::Words => "words",
            Self::Cut => "cut",
        }
    }
}

/// The amount and the kinds of noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Corruption {
    /// The kinds of noise; they are used equally often as far as the rows allow.
    pub kinds: Vec<Noise>,
    /// The fraction of rows, from 0 to 1.
    pub share: f64,
    /// The seed of all random choices.
    pub seed: u64,
}

/// Writes the rows of `sources` with planted noise to `out` as JSON Lines. Returns the number of rows, and the number
/// for each kind. Fewer rows than requested are changed if no kind changes a row; `numbers`, for example, needs digits.
///
/// # Errors
/// As [`read_rows`]; [`DataError::Invalid`] with every row that has no answer; [`DataError::Write`].
pub fn corrupt(
    sources: &[Source],
    corruption: &Corruption,
    out: &Path,
) -> Result<(usize, Vec<(Noise, usize)>), DataError> {
    let mut rows = read_rows(sources, &Mixing::default())?;
    let mut problems = Problems::default();
    let mut answers = vec![];
    for row in &rows {
        match answer(row) {
            Some(answer) => answers.push(answer.to_owned()),
            None => problems.push(Problem::new(
                &row.file,
                row.place(),
                "there is no answer of plain text, which could be made wrong".to_owned(),
            )),
        }
    }
    problems.or(())?;
    let wanted = (corruption.share * rows.len() as f64).round() as usize;
    let mut planted = vec![None; rows.len()];
    let mut counts: Vec<_> = corruption.kinds.iter().map(|&kind| (kind, 0)).collect();
    let mut count = 0;
    for index in epoch_order(rows.len(), Order::Shuffled, corruption.seed, 0) {
        if count == wanted {
            break;
        }
        let mut random = Random::new(corruption.seed, index);
        // The rarest kind first, so that all are used equally often.
        let mut kinds: Vec<usize> = (0..counts.len()).collect();
        kinds.sort_by_key(|&kind| counts[kind].1);
        for kind in kinds {
            let wrong = random.wrong(counts[kind].0, &answers, index);
            if wrong.trim().is_empty() || wrong == answers[index] {
                continue;
            }
            set_answer(&mut rows[index], wrong);
            planted[index] = Some(counts[kind].0);
            counts[kind].1 += 1;
            count += 1;
            break;
        }
    }
    let mut text = String::new();
    for (row, planted) in rows.iter().zip(planted) {
        text += &line(row, planted).map_err(|message| DataError::Invalid {
            problems: vec![Problem::new(&row.file, row.place(), message)],
            more: 0,
        })?;
    }
    cadft_files::write(out, text).map_err(|source| DataError::Write {
        path: out.to_owned(),
        source: source.into(),
    })?;
    Ok((rows.len(), counts))
}

/// The planted noise by row id, from JSON Lines files with the key `planted`; `None` for an unchanged row.
///
/// # Errors
/// As [`Source::files`]; [`DataError::Io`].
pub fn planted(sources: &[Source]) -> Result<HashMap<String, Option<String>>, DataError> {
    #[derive(Deserialize)]
    struct Marked {
        id: String,
        planted: String,
    }
    let mut found = HashMap::new();
    for source in sources {
        for path in source.files()? {
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            let error = |source| DataError::Io {
                path: path.clone(),
                source,
            };
            for line in BufReader::new(File::open(&path).map_err(error)?).lines() {
                if let Ok(Marked { id, planted }) = serde_json::from_str(&line.map_err(error)?) {
                    found.insert(id, (planted != NONE).then_some(planted));
                }
            }
        }
    }
    Ok(found)
}

/// One line of the output.
fn line(row: &Row, planted: Option<Noise>) -> Result<String, String> {
    let format = match row.content {
        Content::Messages { .. } => Format::Messages,
        Content::PromptCompletion { .. } => Format::PromptCompletion,
        Content::Text(_) => Format::Text,
    };
    let mut record = record_of(row, format)?;
    record.insert(KEY.to_owned(), json!(planted.map_or(NONE, Noise::name)));
    Ok(json!(record).to_string() + "\n")
}

/// The last text that is trained.
fn answer(row: &Row) -> Option<&str> {
    let text = match &row.content {
        Content::Messages { messages, .. } => messages.iter().rfind(|turn| turn.is_trained())?.content(),
        Content::PromptCompletion { completion, .. } => completion,
        Content::Text(_) => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

fn set_answer(row: &mut Row, answer: String) {
    match &mut row.content {
        Content::Messages { messages, .. } => {
            if let Some(turn) = messages.iter_mut().rfind(|turn| turn.is_trained()) {
                *turn = turn.with_content(&answer);
            }
        }
        Content::PromptCompletion { completion, .. } => *completion = answer,
        Content::Text(_) => {}
    }
}

/// The random choices for one row.
struct Random(ChaCha8Rng);

impl Random {
    fn new(seed: u64, row: usize) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(row as u64).to_le_bytes());
        // A stream that differs from that of the epoch's order.
        key[16] = 1;
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A random number below `end`.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.0.next_u64()) * end as u128) >> 64) as usize
    }

    /// A wrong answer to a row; the right one if this kind of noise changes nothing.
    fn wrong(&mut self, noise: Noise, answers: &[String], row: usize) -> String {
        let right = &answers[row];
        match noise {
            Noise::Swap => answers[self.below(answers.len())].clone(),
            Noise::Numbers => right
                .chars()
                .map(|c| match c.to_digit(10) {
                    Some(digit) => {
                        let other = (digit as usize + 1 + self.below(9)) % 10;
                        char::from(b'0' + other as u8)
                    }
                    None => c,
                })
                .collect(),
            Noise::Words => right
                .split_inclusive(char::is_whitespace)
                .map(|word| {
                    if word.trim().is_empty() || self.below(2) == 0 {
                        return word.to_owned();
                    }
                    let other = &answers[self.below(answers.len())];
                    let words: Vec<_> = other.split_whitespace().collect();
                    word.replacen(word.trim(), words[self.below(words.len())], 1)
                })
                .collect(),
            Noise::Cut => {
                let half = right.chars().count() / 2;
                right.chars().take(half).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(directory: &Path, rows: usize) -> Source {
        let lines: String = (0..rows)
            .map(|i| {
                let turns = json!([{"role": "user", "content": format!("{i} + 1?")},
                    {"role": "assistant", "content": format!("That is {} of course", i + 1)}]);
                json!({"id": format!("r{i}"), "messages": turns, "answer": (i + 1).to_string()}).to_string()
                    + "\n"
            })
            .collect();
        let path = directory.join("clean.jsonl");
        fs::write(&path, lines).unwrap();
        Source::new(path.to_string_lossy())
    }

    #[test]
    fn the_share_is_planted_equally_marked_and_drawn_from_the_seed() {
        let directory = tempfile::tempdir().unwrap();
        let source = file(directory.path(), 40);
        let corruption = |seed| Corruption {
            kinds: Noise::ALL.to_vec(),
            share: 0.5,
            seed,
        };
        let written = |seed, name: &str| {
            let out = directory.path().join(name);
            let (rows, counts) = corrupt(std::slice::from_ref(&source), &corruption(seed), &out).unwrap();
            assert_eq!(
                (rows, counts.iter().map(|(_, count)| count).sum::<usize>()),
                (40, 20)
            );
            assert!(counts.iter().all(|&(_, count)| count == 5), "{counts:?}");
            out
        };
        let [first, again, other] =
            [(1, "a.jsonl"), (1, "b.jsonl"), (2, "c.jsonl")].map(|(seed, name)| written(seed, name));
        assert_eq!(fs::read(&first).unwrap(), fs::read(&again).unwrap());
        assert_ne!(fs::read(&first).unwrap(), fs::read(&other).unwrap());

        let source_of = |path: &Path| Source::new(path.to_string_lossy());
        let marks = planted(&[source_of(&first)]).unwrap();
        let before = read_rows(std::slice::from_ref(&source), &Mixing::default()).unwrap();
        let after = read_rows(&[source_of(&first)], &Mixing::default()).unwrap();
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((&before.id, &before.answer), (&after.id, &after.answer));
            let changed = answer(before) != answer(after);
            assert_eq!(marks[&after.id].is_some(), changed, "{}", after.id);
        }
    }

    #[test]
    fn a_row_that_a_kind_does_not_change_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.jsonl");
        fs::write(&path, "{\"prompt\": \"a\", \"completion\": \"no digit\"}\n{\"prompt\": \"b\", \"completion\": \"42\"}\n").unwrap();
        let corruption = Corruption {
            kinds: vec![Noise::Numbers],
            share: 1.0,
            seed: 0,
        };
        let out = directory.path().join("out.jsonl");
        let found = corrupt(&[Source::new(path.to_string_lossy())], &corruption, &out).unwrap();
        assert_eq!(found, (2, vec![(Noise::Numbers, 1)]));
        let text = fs::read_to_string(&out).unwrap();
        assert!(
            text.lines().next().unwrap().contains("\"planted\":\"none\""),
            "{text}"
        );
        fs::write(&path, "{\"text\": \"no answer\"}\n").unwrap();
        assert!(corrupt(&[Source::new(path.to_string_lossy())], &corruption, &out).is_err());
    }
}
