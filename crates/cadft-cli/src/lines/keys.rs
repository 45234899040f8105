//! The keys of a terminal, from the bytes that it sends: UTF-8, and the sequences of xterm.

use std::io::{self, Read};

/// What a key does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Character(char),
    Left,
    Right,
    /// To the beginning of this word, or of the one before.
    WordLeft,
    /// Behind this word, or the next.
    WordRight,
    First,
    Last,
    /// The line before this one in the history.
    Older,
    Newer,
    Backspace,
    Delete,
    /// Everything before the cursor goes.
    CutBefore,
    /// Everything after it.
    CutAfter,
    CutWord,
    Enter,
    Interrupt,
    /// Ctrl-D: the end, or in a line as [`Key::Delete`].
    End,
    /// The screen is emptied.
    Clear,
    /// Nothing.
    Other,
}

/// The next key; `None` at the end of the input.
pub(super) fn read(input: &mut impl Read) -> io::Result<Option<Key>> {
    let Some(first) = byte(input)? else {
        return Ok(None);
    };
    let key = match first {
        1 => Key::First,
        2 => Key::Left,
        3 => Key::Interrupt,
        4 => Key::End,
        5 => Key::Last,
        6 => Key::Right,
        8 | 127 => Key::Backspace,
        b'\t' => Key::Character(' '),
        b'\r' | b'\n' => Key::Enter,
        11 => Key::CutAfter,
        12 => Key::Clear,
        14 => Key::Newer,
        16 => Key::Older,
        21 => Key::CutBefore,
        23 => Key::CutWord,
        27 => escaped(input)?,
        0..32 => Key::Other,
        first => character(first, input)?,
    };
    Ok(Some(key))
}

fn byte(input: &mut impl Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(read) => return Ok((read == 1).then_some(byte[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A character that begins with this byte; [`Key::Other`] if it is no UTF-8.
fn character(first: u8, input: &mut impl Read) -> io::Result<Key> {
    let length = match first {
        0..0x80 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
        _ => return Ok(Key::Other),
    };
    let mut bytes = vec![first];
    while bytes.len() < length {
        bytes.extend(byte(input)?.map_or_else(|| vec![0; length], |next| vec![next]));
    }
    let text = std::str::from_utf8(&bytes).ok();
    Ok(text
        .and_then(|text| text.chars().next())
        .map_or(Key::Other, Key::Character))
}

/// What comes after an escape: a letter with Alt, or a sequence.
fn escaped(input: &mut impl Read) -> io::Result<Key> {
    Ok(match byte(input)? {
        Some(b'b') => Key::WordLeft,
        Some(b'f') => Key::WordRight,
        Some(127) => Key::CutWord,
        Some(b'[' | b'O') => sequence(input)?,
        _ => Key::Other,
    })
}

fn sequence(input: &mut impl Read) -> io::Result<Key> {
    let mut parameters = String::new();
    let last = loop {
        match byte(input)? {
            Some(byte @ 0x20..0x40) => parameters.push(char::from(byte)),
            Some(last) => break last,
            None => return Ok(Key::Other),
        }
    };
    let is_modified = parameters.contains(';');
    Ok(match (last, parameters.as_str()) {
        (b'A', _) => Key::Older,
        (b'B', _) => Key::Newer,
        (b'C', _) if is_modified => Key::WordRight,
        (b'D', _) if is_modified => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', "1" | "7") => Key::First,
        (b'F', _) | (b'~', "4" | "8") => Key::Last,
        (b'~', "3") => Key::Delete,
        _ => Key::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut input = bytes;
        std::iter::from_fn(|| read(&mut input).unwrap()).collect()
    }

    #[test]
    fn bytes_of_a_terminal_are_keys() {
        assert_eq!(
            keys("aß日👩\r".as_bytes()),
            ['a', 'ß', '日', '👩']
                .map(Key::Character)
                .into_iter()
                .chain([Key::Enter])
                .collect::<Vec<_>>()
        );
        for (bytes, key) in [
            ("\u{1b}[A", Key::Older),
            ("\u{1b}OB", Key::Newer),
            ("\u{1b}[D", Key::Left),
            ("\u{1b}[1;5D", Key::WordLeft),
            ("\u{1b}[1;3C", Key::WordRight),
            ("\u{1b}b", Key::WordLeft),
            ("\u{1b}[H", Key::First),
            ("\u{1b}[4~", Key::Last),
            ("\u{1b}[3~", Key::Delete),
            ("\u{1b}[200~", Key::Other),
            ("\u{7f}", Key::Backspace),
            ("\u{3}", Key::Interrupt),
            ("\u{4}", Key::End),
            ("\u{0}", Key::Other),
            ("\u{1b}[", Key::Other),
        ] {
            assert_eq!(keys(bytes.as_bytes()), [key], "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_nothing() {
        for bytes in [&[0xff, b'a', b'b', b'c'][..], &[0x80], &[0xc3], &[0xe2, 0x82]] {
            assert_eq!(keys(bytes), [Key::Other], "{bytes:?}");
        }
    }
}
