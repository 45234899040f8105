//! A line while it is typed: its text, the cursor, and the lines before it.

use super::keys::Key;
use cadft_files::visible_text;
use console::measure_text_width;

/// A line that is not finished.
pub(super) struct Draft<'a> {
    text: Vec<char>,
    /// Characters before the cursor.
    cursor: usize,
    history: &'a [String],
    /// The line of the history that is shown; its length for the new one.
    shown: usize,
    /// The new line, while one of the history is shown.
    kept: Vec<char>,
}

/// A place on the terminal, from the first column of the line's first row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Draft<'a> {
    pub(super) fn new(history: &'a [String]) -> Self {
        Self {
            text: vec![],
            cursor: 0,
            history,
            shown: history.len(),
            kept: vec![],
        }
    }

    pub(super) fn text(&self) -> String {
        self.text.iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Does what a key does to the line.
    pub(super) fn press(&mut self, key: Key) {
        match key {
            Key::Character(character) => self.insert(character),
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = self.text.len().min(self.cursor + 1),
            Key::WordLeft => self.cursor = self.word_before(),
            Key::WordRight => self.cursor = self.word_after(),
            Key::First => self.cursor = 0,
            Key::Last => self.cursor = self.text.len(),
            Key::Older => self.show(self.shown.checked_sub(1)),
            Key::Newer => self.show(Some(self.shown + 1)),
            Key::Backspace => self.cut(self.cursor.saturating_sub(1), self.cursor),
            Key::Delete | Key::End => self.cut(self.cursor, self.text.len().min(self.cursor + 1)),
            Key::CutBefore => self.cut(0, self.cursor),
            Key::CutAfter => self.cut(self.cursor, self.text.len()),
            Key::CutWord => self.cut(self.word_before(), self.cursor),
            Key::Enter | Key::Interrupt | Key::Clear | Key::Other => {}
        }
    }

    /// Where the cursor is, and where the line ends, on a terminal of `columns` columns, after a prompt of `prompt` columns.
    pub(super) fn places(&self, prompt: usize, columns: usize) -> (Place, Place) {
        let begin = Place {
            row: 0,
            column: prompt,
        };
        let cursor = after(begin, &self.text[..self.cursor], columns);
        (cursor, after(cursor, &self.text[self.cursor..], columns))
    }

    /// Puts a character at the cursor; one that would act on the terminal is left out.
    fn insert(&mut self, character: char) {
        let mut bytes = [0; 4];
        let text: &str = character.encode_utf8(&mut bytes);
        if visible_text(text) == text {
            self.text.insert(self.cursor, character);
            self.cursor += 1;
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.text.drain(from..to);
        self.cursor = from;
    }

    fn word_before(&self) -> usize {
        let before = &self.text[..self.cursor];
        let end = before.iter().rposition(|character| !character.is_whitespace());
        let end = end.map_or(0, |end| end + 1);
        let space = before[..end]
            .iter()
            .rposition(|character| character.is_whitespace());
        space.map_or(0, |space| space + 1)
    }

    fn word_after(&self) -> usize {
        let after = &self.text[self.cursor..];
        let begin = after.iter().position(|character| !character.is_whitespace());
        let begin = begin.unwrap_or(after.len());
        let length = after[begin..]
            .iter()
            .position(|character| character.is_whitespace());
        self.cursor + begin + length.unwrap_or(after.len() - begin)
    }

    /// Shows a line of the history, or the new one again.
    fn show(&mut self, line: Option<usize>) {
        let Some(line) = line.filter(|line| *line <= self.history.len()) else {
            return;
        };
        if self.shown == self.history.len() {
            self.kept = std::mem::take(&mut self.text);
        }
        self.text = match self.history.get(line) {
            Some(text) => text.chars().collect(),
            None => std::mem::take(&mut self.kept),
        };
        self.shown = line;
        self.cursor = self.text.len();
    }
}

/// Where the cursor is after some characters; one that is too wide for the rest of a row begins the next.
fn after(begin: Place, text: &[char], columns: usize) -> Place {
    let mut bytes = [0; 4];
    text.iter().fold(begin, |mut place, character| {
        let width = measure_text_width(character.encode_utf8(&mut bytes));
        if place.column + width > columns {
            place = Place {
                row: place.row + 1,
                column: 0,
            };
        }
        place.column += width;
        if place.column >= columns {
            place = Place {
                row: place.row + 1,
                column: 0,
            };
        }
        place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(draft: &mut Draft<'_>, text: &str) {
        text.chars()
            .for_each(|letter| draft.press(Key::Character(letter)));
    }

    fn pressed(text: &str, keys: &[Key]) -> String {
        let mut draft = Draft::new(&[]);
        typed(&mut draft, text);
        keys.iter().for_each(|key| draft.press(*key));
        draft.press(Key::Character('|'));
        draft.text()
    }

    #[test]
    fn keys_move_the_cursor_and_cut() {
        for (keys, text) in [
            (&[][..], "one two  日本|"),
            (&[Key::Left], "one two  日|本"),
            (&[Key::First, Key::Left], "|one two  日本"),
            (&[Key::First, Key::Right, Key::Last, Key::Right], "one two  日本|"),
            (&[Key::WordLeft], "one two  |日本"),
            (&[Key::WordLeft, Key::WordLeft], "one |two  日本"),
            (&[Key::First, Key::WordRight, Key::WordRight], "one two|  日本"),
            (&[Key::WordRight], "one two  日本|"),
            (&[Key::Backspace], "one two  日|"),
            (&[Key::First, Key::Backspace], "|one two  日本"),
            (&[Key::First, Key::Delete], "|ne two  日本"),
            (&[Key::Delete], "one two  日本|"),
            (&[Key::CutWord], "one two  |"),
            (&[Key::CutWord, Key::CutWord], "one |"),
            (&[Key::Left, Key::CutBefore], "|本"),
            (&[Key::Left, Key::CutAfter], "one two  日|"),
            (&[Key::Other, Key::Clear], "one two  日本|"),
        ] {
            assert_eq!(pressed("one two  日本", keys), text, "{keys:?}");
        }
    }

    #[test]
    fn the_history_is_walked_and_the_new_line_comes_back() {
        let history = ["first".to_owned(), "second".to_owned()];
        let mut draft = Draft::new(&history);
        typed(&mut draft, "new");
        let mut walk = |key| {
            draft.press(key);
            draft.text()
        };
        assert_eq!(walk(Key::Newer), "new");
        assert_eq!(walk(Key::Older), "second");
        assert_eq!(walk(Key::Older), "first");
        assert_eq!(walk(Key::Older), "first");
        assert_eq!(walk(Key::Newer), "second");
        assert_eq!(walk(Key::Newer), "new");
    }

    #[test]
    fn what_acts_on_a_terminal_is_not_typed() {
        let mut draft = Draft::new(&[]);
        typed(&mut draft, "a\u{9b}\u{202e}\u{1b}b");
        assert_eq!(draft.text(), "ab");
    }

    #[test]
    fn wide_characters_are_not_cut_at_the_end_of_a_row() {
        let mut draft = Draft::new(&[]);
        typed(&mut draft, "ab日本");
        draft.press(Key::Left);
        let place = |row, column| Place { row, column };
        assert_eq!(draft.places(2, 80), (place(0, 6), place(0, 8)));
        // Of five columns, two are the prompt and two the letters: one is left, too narrow.
        assert_eq!(draft.places(2, 5), (place(1, 2), place(1, 4)));
        assert_eq!(draft.places(2, 6), (place(1, 0), place(1, 2)));
    }
}
