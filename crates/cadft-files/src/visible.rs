//! Makes foreign text safe to show: control characters and characters that change the text direction are escaped.
//!
//! File names, ids, texts of data and of models, and names in model files come from downloads. An escape sequence in
//! them could clear the screen, set the window title, or hide a part of a message.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};
use std::path::Path;

/// Escapes a text of several lines; line ends and tabs stay.
#[must_use]
pub fn visible_text(text: &str) -> Cow<'_, str> {
    replaced(text, |character, next| {
        is_hidden(character) && !matches!(character, '\n' | '\t') && (character, next) != ('\r', Some('\n'))
    })
}

/// Escapes a name, an id or a value that is shown in one line.
#[must_use]
pub fn visible_name(name: &str) -> Cow<'_, str> {
    replaced(name, |character, _| is_hidden(character))
}

/// Escapes a path as [`visible_name`] does.
#[must_use]
pub fn shown(path: &(impl AsRef<Path> + ?Sized)) -> ShownPath {
    ShownPath(visible_name(&path.as_ref().to_string_lossy()).into_owned())
}

/// A path that is safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPath(String);

impl Display for ShownPath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Escapes hidden characters in JSON; the values stay the same. JSON itself permits some of these characters.
#[must_use]
pub fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if is_hidden(character) && !matches!(character, '\n' | '\t' | '\r') {
            // Writing to a string does not fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character controls a terminal or the text direction.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

fn replaced(text: &str, is_replaced: impl Fn(char, Option<char>) -> bool) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if !is_replaced(character, characters.peek().copied()) {
            shown.push(character);
        } else if matches!(character, '\n' | '\r' | '\t') {
            shown.extend(character.escape_default());
        } else {
            shown.extend(character.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_spelt_out_and_everything_else_stays() {
        let foreign = "a\u{1b}]0;title\u{7}b\u{9b}2J\u{7f}\u{202e}c\0";
        let shown = "a\\u{1b}]0;title\\u{7}b\\u{9b}2J\\u{7f}\\u{202e}c\\u{0}";
        assert_eq!(visible_text(foreign), shown);
        assert_eq!(visible_name(foreign), shown);
        let plain = "Grüße, 日本語, 👩‍🔬, العربية\u{a0}!";
        assert!(matches!(visible_text(plain), Cow::Borrowed(text) if text == plain));
    }

    #[test]
    fn lines_stay_in_a_text_and_not_in_a_name() {
        let text = "one\n\ttwo\r\nthree\rfour";
        assert_eq!(visible_text(text), "one\n\ttwo\r\nthree\\rfour");
        assert_eq!(visible_name(text), "one\\n\\ttwo\\r\\nthree\\rfour");
        assert_eq!(shown(Path::new("a\nhint: b")).to_string(), "a\\nhint: b");
    }

    #[test]
    fn json_keeps_its_values() {
        let json = "{\"a\":\"\u{9b}2J\u{202e}\u{7f}ä\"}\n";
        assert_eq!(visible_json(json), "{\"a\":\"\\u009b2J\\u202e\\u007fä\"}\n");
    }
}
