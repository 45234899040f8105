//! `{% generation %} .. {% endgeneration %}`: marks the text that the assistant generates.
//!
//! The engine does not know this tag. Its body has a separate scope, so the tag becomes a `with` block between two
//! characters that no text contains (Unicode's noncharacters U+FDD0 and U+FDD1). They are written outside the block and
//! removed from the finished text.

use minijinja::{Error, ErrorKind};

use super::Rendered;

const START: char = '\u{FDD0}';
const END: char = '\u{FDD1}';

/// The template with its generation tags replaced by `with` blocks between the two characters; `None` if it has no such
/// tags. Whitespace is handled as for any block tag (`trim_blocks`, `lstrip_blocks`).
pub(super) fn as_blocks(source: &str) -> Result<Option<String>, Error> {
    let mut text = String::with_capacity(source.len() + 64);
    let mut rest = source;
    let mut open = 0_usize;
    let mut found = false;
    let starts = |rest: &str, at: usize| matches!(rest.as_bytes().get(at + 1), Some(b'%' | b'#'));
    while let Some((at, _)) = rest.match_indices('{').find(|(at, _)| starts(rest, *at)) {
        let is_comment = rest[at..].starts_with("{#");
        let close = if is_comment { "#}" } else { "%}" };
        let Some(length) = rest[at + 2..].find(close) else {
            break;
        };
        let (tag, end) = (&rest[at + 2..at + 2 + length], at + 4 + length);
        text.push_str(&rest[..at]);
        let whole = &rest[at..end];
        rest = &rest[end..];
        match tag.trim_matches(['-', '+']).trim() {
            "generation" if !is_comment => {
                open += 1;
                found = true;
                begin(&mut text, tag);
            }
            "endgeneration" if !is_comment => {
                open = open
                    .checked_sub(1)
                    .ok_or_else(|| unbalanced("`endgeneration` without `generation`"))?;
                rest = finish(&mut text, tag, rest);
            }
            _ => text.push_str(whole),
        }
    }
    if open > 0 {
        return Err(unbalanced("`generation` without `endgeneration`"));
    }
    text.push_str(rest);
    Ok(found.then_some(text))
}

/// Opens a block. Whitespace before the tag is handled here, because the character is inserted before the tag.
fn begin(text: &mut String, tag: &str) {
    let dash = if tag.starts_with('-') { "-" } else { "" };
    if !tag.starts_with('+') {
        let line = text.trim_end_matches([' ', '\t']);
        if line.is_empty() || line.ends_with('\n') {
            text.truncate(line.len());
        }
    }
    let right = if tag.ends_with('-') { "-" } else { "" };
    text.extend(["{{", dash, " '"]);
    text.push(START);
    text.extend(["' }}{% with ", right, "%}"]);
}

/// Closes a block. Returns the rest of the template, without the whitespace that the tag removes after it.
fn finish<'a>(text: &mut String, tag: &str, rest: &'a str) -> &'a str {
    let left = match tag.chars().next() {
        Some(mark @ ('-' | '+')) => mark.to_string(),
        _ => String::new(),
    };
    text.extend(["{%", &left, " endwith %}{{ '"]);
    text.push(END);
    if tag.ends_with('-') {
        text.push_str("' -}}");
        return rest;
    }
    text.push_str("' }}");
    if tag.ends_with('+') {
        return rest;
    }
    rest.strip_prefix('\n').unwrap_or(rest)
}

fn unbalanced(what: &str) -> Error {
    Error::new(ErrorKind::SyntaxError, what.to_owned())
}

/// Removes the characters and returns their positions as ranges. Adjacent ranges are merged.
pub(super) fn found(marked: String) -> Result<Rendered, Error> {
    if !marked.contains([START, END]) {
        return Ok(Rendered {
            text: marked,
            generated: Vec::new(),
        });
    }
    let mut text = String::with_capacity(marked.len());
    let mut generated: Vec<std::ops::Range<usize>> = Vec::new();
    let mut started = None;
    for piece in marked.split_inclusive([START, END]) {
        let mark = piece
            .chars()
            .next_back()
            .filter(|mark| [START, END].contains(mark));
        text.push_str(mark.map_or(piece, |mark| &piece[..piece.len() - mark.len_utf8()]));
        match (mark, started) {
            (Some(START), None) => started = Some(text.len()),
            (Some(END), Some(start)) => {
                started = None;
                match generated.last_mut() {
                    Some(last) if last.end == start => last.end = text.len(),
                    _ if start < text.len() => generated.push(start..text.len()),
                    _ => {}
                }
            }
            (None, None) => {}
            _ => return Err(garbled()),
        }
    }
    if started.is_some() {
        return Err(garbled());
    }
    Ok(Rendered { text, generated })
}

fn garbled() -> Error {
    let message = "what is generated cannot be told: `generation` blocks within each other, or a message with the \
                   noncharacters U+FDD0 or U+FDD1";
    Error::new(ErrorKind::InvalidOperation, message)
}

#[cfg(test)]
mod tests {
    use super::{as_blocks, found};

    #[test]
    fn comments_and_other_tags_are_left_alone() {
        let source = "{# {% generation %} #}{% if x %}{% endif %}{% set y = '%' %}";
        assert_eq!(as_blocks(source).unwrap(), None);
        let source = "{#- {% generation %} -#} {%- generation -%}a\n  {% generation %}\nb{% endgeneration %}\n{% endgeneration -%} c";
        let expected = "{#- {% generation %} -#} {{- '\u{FDD0}' }}{% with -%}a\n{{ '\u{FDD0}' }}{% with %}\nb\
                        {% endwith %}{{ '\u{FDD1}' }}{% endwith %}{{ '\u{FDD1}' -}} c";
        assert_eq!(as_blocks(source).unwrap().as_deref(), Some(expected));
        assert!(as_blocks("{% generation %}").is_err());
        assert!(as_blocks("{% endgeneration %}").is_err());
    }

    #[test]
    fn marks_are_taken_out_and_touching_ranges_joined() {
        let rendered =
            found("a\u{FDD0}é\u{FDD1}\u{FDD0}b\u{FDD1}c\u{FDD0}\u{FDD1}\u{FDD0}d\u{FDD1}".to_owned());
        let rendered = rendered.unwrap();
        assert_eq!(rendered.text, "aébcd");
        assert_eq!(rendered.generated, [1..4, 5..6]);
        for garbled in ["\u{FDD0}", "\u{FDD1}", "\u{FDD0}\u{FDD0}\u{FDD1}\u{FDD1}"] {
            assert!(found(garbled.to_owned()).is_err(), "{garbled:?}");
        }
    }
}
