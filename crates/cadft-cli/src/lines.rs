//! Lines that somebody types: on a terminal with arrow keys and a history, elsewhere as they come.

mod draft;
mod keys;

use anyhow::{Context, Result};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use draft::{Draft, Place};
use keys::Key;
use std::env;
use std::io::{self, BufRead, IsTerminal, StdinLock, Write};

/// What stands before a line on a terminal.
const PROMPT: &str = "> ";

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of standard input.
    End,
}

/// The lines of standard input.
pub(crate) struct Lines {
    input: StdinLock<'static>,
    way: Way,
    /// What was typed before, the oldest first.
    history: Vec<String>,
}

/// How lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// They can be edited.
    Edited,
    /// A terminal that moves no cursor, or whose output goes elsewhere: it edits a line by itself.
    Prompted,
    /// A file or a pipe.
    Read,
}

impl Lines {
    pub(crate) fn new() -> Self {
        let has_cursor = cfg!(unix) && env::var_os("TERM").is_none_or(|name| name != "dumb");
        let way = match (io::stdin().is_terminal(), io::stderr().is_terminal()) {
            (true, true) if has_cursor => Way::Edited,
            (true, _) => Way::Prompted,
            (false, _) => Way::Read,
        };
        Self {
            input: io::stdin().lock(),
            way,
            history: vec![],
        }
    }

    /// Whether somebody types them.
    pub(crate) fn is_terminal(&self) -> bool {
        self.way != Way::Read
    }

    /// The next one.
    ///
    /// # Errors
    /// If standard input cannot be read.
    pub(crate) fn next(&mut self) -> Result<Typed> {
        let typed = match self.way {
            Way::Edited => self.edited(),
            Way::Prompted => show(PROMPT).and_then(|()| self.plain()),
            Way::Read => self.plain(),
        };
        typed.context("cannot read standard input")
    }

    fn plain(&mut self) -> io::Result<Typed> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(Typed::End);
        }
        let end = line.trim_end_matches(['\n', '\r']).len();
        line.truncate(end);
        Ok(Typed::Line(line))
    }

    fn edited(&mut self) -> io::Result<Typed> {
        let _raw = Raw::begin()?;
        let mut draft = Draft::new(&self.history);
        let mut row = 0;
        let typed = loop {
            row = draw(&draft, row)?;
            let Some(key) = keys::read(&mut self.input)? else {
                break Typed::End;
            };
            match key {
                Key::Enter => break Typed::Line(draft.text()),
                Key::Interrupt => break Typed::Interrupt,
                Key::End if draft.is_empty() => break Typed::End,
                Key::Clear => {
                    show("\u{1b}[H\u{1b}[2J")?;
                    row = 0;
                }
                key => draft.press(key),
            }
        };
        draft.press(Key::Last);
        draw(&draft, row)?;
        show("\r\n")?;
        if let Typed::Line(line) = &typed
            && !line.trim().is_empty()
            && self.history.last() != Some(line)
        {
            self.history.push(line.clone());
        }
        Ok(typed)
    }
}

/// A terminal that gives every key at once, and shows none by itself.
struct Raw;

impl Raw {
    fn begin() -> io::Result<Self> {
        enable_raw_mode().map(|()| Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs none of it.
        let _ = disable_raw_mode();
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Draws a line whose cursor was in `row`, counted from the line's first; the row in which it is now.
fn draw(draft: &Draft<'_>, row: usize) -> io::Result<usize> {
    let (_, columns) = console::Term::stderr().size();
    let (cursor, end) = draft.places(PROMPT.len(), usize::from(columns));
    show(&drawn(draft, row, cursor, end))?;
    Ok(cursor.row)
}

/// The line, and what moves the cursor to its place.
fn drawn(draft: &Draft<'_>, row: usize, cursor: Place, end: Place) -> String {
    let up = |rows: usize| match rows {
        0 => String::new(),
        rows => format!("\u{1b}[{rows}A"),
    };
    // A row that is exactly full leaves the cursor behind its last character.
    let full = if end.row > 0 && end.column == 0 {
        "\r\n"
    } else {
        ""
    };
    let right = match cursor.column {
        0 => String::new(),
        columns => format!("\u{1b}[{columns}C"),
    };
    format!(
        "{}\r\u{1b}[J{PROMPT}{}{full}{}\r{right}",
        up(row),
        draft.text(),
        up(end.row - cursor.row)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_drawn_where_it_began_with_the_cursor_in_its_place() {
        let mut draft = Draft::new(&[]);
        "abcd"
            .chars()
            .for_each(|letter| draft.press(Key::Character(letter)));
        draft.press(Key::Left);
        let (cursor, end) = draft.places(PROMPT.len(), 80);
        assert_eq!(drawn(&draft, 0, cursor, end), "\r\u{1b}[J> abcd\r\u{1b}[5C");
        // Six columns hold the prompt and the four letters exactly.
        let (cursor, end) = draft.places(PROMPT.len(), 6);
        assert_eq!(
            drawn(&draft, 0, cursor, end),
            "\r\u{1b}[J> abcd\r\n\u{1b}[1A\r\u{1b}[5C"
        );
        let (cursor, end) = draft.places(PROMPT.len(), 4);
        assert_eq!(
            drawn(&draft, 1, cursor, end),
            "\u{1b}[1A\r\u{1b}[J> abcd\r\u{1b}[1C"
        );
    }
}
