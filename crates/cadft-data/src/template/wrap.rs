//! Python's `textwrap.wrap`.

use std::sync::LazyLock;

use minijinja::Error;
use tokenizers::utils::SysRegex;

use super::python::{invalid, is_space};

/// Python's break points: whitespace, hyphens within words, and dashes.
const HYPHENS: &str = r#"[\t\n\x0b\x0c\r ]+|(?<=[\w!"'&.,?])-{2,}(?=\w)|[^\t\n\x0b\x0c\r ]+?(?:-(?:(?<=[^\d\W]{2}-)|(?<=[^\d\W]-[^\d\W]-))(?=[^\d\W]-?[^\d\W])|(?=[\t\n\x0b\x0c\r ]|\z)|(?<=[\w!"'&.,?])(?=-{2,}\w))"#;
const SPACES: &str = r"[\t\n\x0b\x0c\r ]+";

/// How lines are broken.
pub(super) struct Wrap {
    /// Largest number of characters in a line.
    pub(super) width: usize,
    /// Whether words that are longer than a line are cut.
    pub(super) breaks_words: bool,
    /// Whether words may be broken after a hyphen.
    pub(super) breaks_hyphens: bool,
}

/// The lines of a paragraph.
pub(super) fn wrapped(text: &str, options: &Wrap) -> Result<Vec<String>, Error> {
    if options.width == 0 {
        return Err(invalid("`wordwrap`: the width must be more than 0"));
    }
    let mut chunks = chunks(text, options.breaks_hyphens)?;
    chunks.reverse();
    let is_blank = |chunk: &str| chunk.chars().all(is_space);
    let mut lines = Vec::new();
    while !chunks.is_empty() {
        if !lines.is_empty() && chunks.last().is_some_and(|chunk| is_blank(chunk)) {
            chunks.pop();
        }
        let mut line: Vec<String> = Vec::new();
        let mut len = 0;
        while let Some(chunk) = chunks.last() {
            let chunk_len = chunk.chars().count();
            if len + chunk_len > options.width {
                break;
            }
            len += chunk_len;
            line.extend(chunks.pop());
        }
        if chunks
            .last()
            .is_some_and(|chunk| chunk.chars().count() > options.width)
        {
            cut_word(&mut chunks, &mut line, len, options);
        }
        if line.last().is_some_and(|chunk| is_blank(chunk)) {
            line.pop();
        }
        if !line.is_empty() {
            lines.push(line.concat());
        }
    }
    Ok(lines)
}

/// Moves as much of a word to the line as fits.
fn cut_word(chunks: &mut Vec<String>, line: &mut Vec<String>, len: usize, options: &Wrap) {
    let Some(word) = chunks.pop() else {
        return;
    };
    if !options.breaks_words {
        if line.is_empty() {
            line.push(word);
        } else {
            chunks.push(word);
        }
        return;
    }
    let letters: Vec<char> = word.chars().collect();
    let mut end = (options.width - len).min(letters.len());
    if options.breaks_hyphens && letters.len() > end {
        let hyphen = letters[..end].iter().rposition(|letter| *letter == '-');
        let hyphen = hyphen.filter(|at| *at > 0 && letters[..*at].iter().any(|letter| *letter != '-'));
        end = hyphen.map_or(end, |at| at + 1);
    }
    line.push(letters[..end].iter().collect());
    chunks.push(letters[end..].iter().collect());
}

fn chunks(text: &str, breaks_hyphens: bool) -> Result<Vec<String>, Error> {
    static BY_HYPHENS: LazyLock<Option<SysRegex>> = LazyLock::new(|| SysRegex::new(HYPHENS).ok());
    static BY_SPACES: LazyLock<Option<SysRegex>> = LazyLock::new(|| SysRegex::new(SPACES).ok());
    let regex = if breaks_hyphens { &BY_HYPHENS } else { &BY_SPACES };
    let regex = regex
        .as_ref()
        .ok_or_else(|| invalid("`wordwrap` is not available"))?;
    let mut chunks = Vec::new();
    let mut from = 0;
    for (start, end) in regex.find_iter(text) {
        chunks.extend([&text[from..start], &text[start..end]].map(str::to_owned));
        from = end;
    }
    chunks.push(text[from..].to_owned());
    chunks.retain(|chunk| !chunk.is_empty());
    Ok(chunks)
}
