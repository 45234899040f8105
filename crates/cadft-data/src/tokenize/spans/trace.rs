//! Finds which text of a rendered conversation comes from which message.
//!
//! Every message gets a unique character from Unicode's private use planes. The character is put around the message's
//! texts, and the conversation is rendered once more. If removing these characters gives the original rendering, they
//! show where each message's text begins and ends. This takes one rendering for any number of messages.

use minijinja::Value;
use serde_json::{Map, Value as Json};

use crate::row::{FLAGS, Message};
use crate::template::{parse_calls, value};

/// The first characters of the two private use planes, and the number of characters in each.
const PLANES: [u32; 2] = [0xF_0000, 0x10_0000];
const MOST: u32 = 0xFFFE;

/// Size of such a character in bytes.
pub(super) const MARK_BYTES: usize = 4;

/// Fields that templates compare or check: changed text there would change the result.
const KEPT: [&str; 5] = ["role", "name", "id", "tool_call_id", "type"];

/// Templates split texts at these tags.
const TAGS: [&str; 4] = ["<think>", "</think>", "[THINK]", "[/THINK]"];

/// The messages of a conversation with marks around their texts.
pub(super) struct Sentinels {
    first: u32,
    count: u32,
    /// The marked messages as template values.
    pub(super) values: Vec<Value>,
    /// Whether each message has a text to mark.
    has_text: Vec<bool>,
}

/// A place in a text where the text of a message begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) message: usize,
    /// The byte position in the text without marks.
    pub(super) at: usize,
    /// The byte position in the text with marks.
    pub(super) raw: usize,
}

impl Sentinels {
    /// Chooses characters that the rendered conversation, `text`, does not contain; `None` if it contains characters of
    /// both planes, or if there are more messages than characters.
    pub(super) fn new(messages: &[Message], text: &str) -> Option<Self> {
        let count = u32::try_from(messages.len())
            .ok()
            .filter(|&count| count <= MOST)?;
        let is_free = |first: &u32| {
            let plane = *first..=*first + 0xFFFF;
            !text.chars().any(|letter| plane.contains(&u32::from(letter)))
        };
        let first = PLANES.into_iter().find(is_free)?;
        let mut values = Vec::with_capacity(messages.len());
        let mut has_text = Vec::with_capacity(messages.len());
        for (letter, message) in (first..).map_while(char::from_u32).zip(messages) {
            let marked = marked(message, letter, Texts::Surround);
            has_text.push(marked.is_some());
            values.push(value(marked.as_ref().unwrap_or(message)));
        }
        Some(Self {
            first,
            count,
            values,
            has_text,
        })
    }

    /// Whether a message has a text to mark.
    pub(super) fn has_text(&self, message: usize) -> bool {
        self.has_text[message]
    }

    /// A message in which each text is replaced by the mark.
    pub(super) fn replaced(&self, message: &Message) -> Value {
        let letter = char::from_u32(self.first).unwrap_or_default();
        let replaced = marked(message, letter, Texts::Replace);
        value(replaced.as_ref().unwrap_or(message))
    }

    /// A rendering without the marks, and their positions.
    pub(super) fn read(&self, rendered: &str) -> (String, Vec<Mark>) {
        let mut text = String::with_capacity(rendered.len());
        let mut marks = Vec::new();
        let mut copied = 0;
        // Characters of these planes begin with one of two bytes.
        for raw in rendered.bytes().enumerate().filter(|(_, byte)| *byte >= 0xF3) {
            let raw = raw.0;
            let Some(letter) = rendered[raw..].chars().next() else {
                break;
            };
            let Some(message) = u32::from(letter)
                .checked_sub(self.first)
                .filter(|&index| index < self.count)
            else {
                continue;
            };
            text.push_str(&rendered[copied..raw]);
            copied = raw + letter.len_utf8();
            marks.push(Mark {
                message: message as usize,
                at: text.len(),
                raw,
            });
        }
        text.push_str(&rendered[copied..]);
        (text, marks)
    }
}

/// A message whose texts are surrounded or replaced by the mark; `None` if it has no text.
fn marked(message: &Message, letter: char, texts: Texts) -> Option<Message> {
    let around = |names: Names| {
        let mut marking = Marking {
            letter,
            texts,
            names,
            found: false,
        };
        let mut fields = message.fields().clone();
        for (key, value) in &mut fields {
            match key.as_str() {
                key if KEPT.contains(&key) || FLAGS.contains(&key) => {}
                "tool_calls" | "function_call" => {
                    parse_calls(value);
                    marking.call(value);
                }
                _ => marking.value(value, Keys::Keep),
            }
        }
        marking.found.then(|| Message::from_fields(fields))
    };
    // A template may repeat a function's name beside its result, so names are marked only as a last resort.
    around(Names::Keep).or_else(|| around(Names::Mark))
}

#[derive(Clone, Copy, PartialEq)]
enum Texts {
    Surround,
    Replace,
}

#[derive(Clone, Copy, PartialEq)]
enum Names {
    Mark,
    Keep,
}

#[derive(Clone, Copy, PartialEq)]
enum Keys {
    Mark,
    Keep,
}

struct Marking {
    letter: char,
    texts: Texts,
    names: Names,
    found: bool,
}

impl Marking {
    /// Marks a tool call, or a list of them.
    fn call(&mut self, value: &mut Json) {
        match value {
            Json::Array(calls) => calls.iter_mut().for_each(|call| self.call(call)),
            Json::Object(fields) => {
                for (key, value) in fields {
                    match key.as_str() {
                        "function" => self.call(value),
                        "arguments" | "parameters" => self.value(value, Keys::Mark),
                        "name" if self.names == Names::Mark => self.value(value, Keys::Keep),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn value(&mut self, value: &mut Json, keys: Keys) {
        match value {
            Json::String(text) => self.text(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.value(item, keys)),
            Json::Object(fields) => {
                let mut all = Map::new();
                for (mut key, mut value) in std::mem::take(fields) {
                    if keys == Keys::Mark {
                        self.text(&mut key);
                    }
                    self.value(&mut value, keys);
                    all.insert(key, value);
                }
                *fields = all;
            }
            _ => {}
        }
    }

    /// Marks a text, inside its outer whitespace and outside of tags, or replaces it.
    fn text(&mut self, text: &mut String) {
        if self.texts == Texts::Replace {
            if !text.trim().is_empty() {
                self.found = true;
                *text = self.letter.to_string();
            }
            return;
        }
        let mut whole = String::with_capacity(text.len() + 8);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let next = TAGS
                .iter()
                .filter_map(|tag| Some((rest.find(tag)?, tag.len())))
                .min();
            let (at, length) = next.unwrap_or((rest.len(), 0));
            let (piece, core) = (&rest[..at], rest[..at].trim());
            if core.is_empty() {
                whole.push_str(piece);
            } else {
                self.found = true;
                let before = piece.len() - piece.trim_start().len();
                whole.push_str(&piece[..before]);
                whole.push(self.letter);
                whole.push_str(core);
                whole.push(self.letter);
                whole.push_str(&piece[before + core.len()..]);
            }
            whole.push_str(&rest[at..at + length]);
            rest = &rest[at + length..];
        }
        *text = whole;
    }
}

/// The positions of the texts of a conversation's messages.
pub(super) struct Trace {
    pub(super) marks: Vec<Mark>,
    /// For each message: the index of its first and last mark, and their number.
    of: Vec<Option<(usize, usize, usize)>>,
}

/// The position of a message's text.
pub(super) enum Place {
    /// No text of the message is shown.
    Nowhere,
    /// Text of other messages is between its texts.
    Scattered,
    /// The text is in one place.
    Here(Here),
}

/// The single place of a message's text.
#[derive(Clone, Copy)]
pub(super) struct Here {
    /// The first byte of the text and the byte after it.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The mark at the end of the text before it.
    pub(super) before: Option<Mark>,
    /// The start of the next message's text, or the end of the conversation.
    pub(super) limit: usize,
}

impl Trace {
    /// The marks of a rendering; `None` if it is not `text` without them.
    pub(super) fn new(sentinels: &Sentinels, rendered: &str, text: &str) -> Option<Self> {
        let (plain, marks) = sentinels.read(rendered);
        if plain != text {
            return None;
        }
        let mut of: Vec<Option<(usize, usize, usize)>> = vec![None; sentinels.values.len()];
        for (index, mark) in marks.iter().enumerate() {
            let (_, last, count) = of[mark.message].get_or_insert((index, index, 0));
            (*last, *count) = (index, *count + 1);
        }
        Some(Self { marks, of })
    }

    /// Whether any text of a message is shown.
    pub(super) fn shows(&self, message: usize) -> bool {
        self.of[message].is_some()
    }

    /// The place of a message's text in a conversation with this length in bytes.
    pub(super) fn place(&self, message: usize, length: usize) -> Place {
        let Some((first, last, count)) = self.of[message] else {
            return Place::Nowhere;
        };
        if last - first + 1 != count {
            return Place::Scattered;
        }
        Place::Here(Here {
            start: self.marks[first].at,
            end: self.marks[last].at,
            before: first.checked_sub(1).map(|index| self.marks[index]),
            limit: self.marks.get(last + 1).map_or(length, |mark| mark.at),
        })
    }
}
