//! Splits strings into pieces with Python's rules, and joins them.

use minijinja::value::Tuple;
use minijinja::{Error, State, Value};

use crate::template::fuel::{ITEM, afford, left};
use crate::template::python::{bind, integer, invalid, is_space, required, string};

/// Calls a method that splits or joins strings.
pub(super) fn pieces(state: &State<'_, '_>, this: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    match name {
        "join" => {
            let [items] = bind(name, ["iterable"], given)?;
            let mut out = String::new();
            for (index, item) in required(name, items)?.try_iter()?.checked().enumerate() {
                let item = item?;
                afford(state, (out.len() + this.len()) as u64)?;
                if index > 0 {
                    out.push_str(this);
                }
                out.push_str(string(name, &item)?);
            }
            Ok(Value::from(out))
        }
        "partition" | "rpartition" => {
            let [separator] = bind(name, ["sep"], given)?;
            let separator = required(name, separator)?;
            let separator = string(name, &separator)?;
            if separator.is_empty() {
                return Err(invalid("empty separator"));
            }
            let cut = if name == "partition" {
                this.split_once(separator)
            } else {
                this.rsplit_once(separator)
            };
            let parts = match (cut, name) {
                (Some((before, after)), _) => [before, separator, after],
                (None, "partition") => [this, "", ""],
                (None, _) => ["", "", this],
            };
            Ok(Value::from(Tuple::from(parts.map(Value::from).to_vec())))
        }
        "splitlines" => {
            let [keeps] = bind(name, ["keepends"], given)?;
            let keeps = keeps.is_some_and(|keeps| keeps.is_true());
            listed(
                state,
                lines(this).map(|(line, end)| if keeps { end } else { line }),
            )
        }
        _ => {
            let [separator, most] = bind(name, ["sep", "maxsplit"], given)?;
            let most = most.map_or(Ok(-1), |most| integer(name, &most))?;
            let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
            let separator = separator.filter(|separator| !separator.is_none());
            let is_reversed = name == "rsplit";
            let Some(separator) = separator else {
                let mut words = words(state, this, most, is_reversed)?;
                if is_reversed {
                    words.reverse();
                }
                return listed(state, words.into_iter());
            };
            let separator = string(name, &separator)?;
            if separator.is_empty() {
                return Err(invalid("empty separator"));
            }
            if is_reversed {
                let room = room(state);
                let mut found: Vec<&str> = this.rsplitn(most + 1, separator).take(room).collect();
                found.reverse();
                return listed(state, found.into_iter());
            }
            listed(state, this.splitn(most + 1, separator))
        }
    }
}

/// One more than the number of pieces that the remaining fuel can pay for.
fn room(state: &State<'_, '_>) -> usize {
    usize::try_from(left(state) / ITEM)
        .unwrap_or(usize::MAX)
        .saturating_add(1)
}

/// A list of pieces; its cost is checked before it is created.
fn listed<'p>(state: &State<'_, '_>, pieces: impl Iterator<Item = &'p str>) -> Result<Value, Error> {
    let pieces: Vec<&str> = pieces.take(room(state)).collect();
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    afford(
        state,
        (pieces.len() as u64)
            .saturating_mul(ITEM)
            .saturating_add(bytes as u64),
    )?;
    Ok(pieces.into_iter().map(Value::from).collect())
}

/// Splits at whitespace, with at most `most` cuts; from the end if `is_reversed`.
fn words<'t>(
    state: &State<'_, '_>,
    this: &'t str,
    most: usize,
    is_reversed: bool,
) -> Result<Vec<&'t str>, Error> {
    let room = room(state);
    let mut rest = this;
    let mut found = Vec::new();
    loop {
        rest = if is_reversed {
            rest.trim_end_matches(is_space)
        } else {
            rest.trim_start_matches(is_space)
        };
        if rest.is_empty() {
            return Ok(found);
        }
        if found.len() >= room {
            afford(state, u64::MAX)?;
        }
        if found.len() == most {
            found.push(rest);
            return Ok(found);
        }
        let cut = if is_reversed {
            rest.rfind(is_space).map(|at| {
                let next = at + rest[at..].chars().next().map_or(0, char::len_utf8);
                (&rest[next..], &rest[..at])
            })
        } else {
            rest.find(is_space).map(|at| (&rest[..at], &rest[at..]))
        };
        let Some((word, others)) = cut else {
            found.push(rest);
            return Ok(found);
        };
        found.push(word);
        rest = others;
    }
}

/// The lines of a text, each with its line end separately.
pub(in crate::template) fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    const ENDS: [char; 10] = [
        '\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = rest.find(ENDS).unwrap_or(rest.len());
        let tail = &rest[at..];
        let length = match tail.strip_prefix("\r\n") {
            Some(_) => 2,
            None => tail.chars().next().map_or(0, char::len_utf8),
        };
        let found = (&rest[..at], &rest[..at + length]);
        rest = &rest[at + length..];
        Some(found)
    })
}
