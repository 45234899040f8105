//! Python's notation of values, `str` and `repr`, and Python's argument passing.

use std::fmt::Write;

use minijinja::value::{Kwargs, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// The error of an operation that Python refuses.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// `str(value)`.
pub(super) fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value),
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> String {
    let mut text = String::new();
    write_repr(&mut text, value);
    text
}

/// The value as a floating-point number, if it is one.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    if value.kind() != ValueKind::Number || value.is_integer() {
        return None;
    }
    f64::try_from(value.clone()).ok()
}

/// `repr` of a floating-point number: the shortest digits that give it back, with an exponent from 1e16 on and below
/// 1e-4.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let mut text = number.to_string();
        if !text.contains('.') {
            text.push_str(".0");
        }
        return text;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn write_repr(out: &mut String, value: &Value) {
    if let Some(text) = value.as_str() {
        quote(out, text);
    } else if let Some(number) = as_float(value) {
        out.push_str(&float(number));
    } else if let Some(object) = value.as_object() {
        let repr = object.repr();
        match repr {
            ObjectRepr::Map => {
                let pairs = object.try_iter_pairs().into_iter().flatten();
                enclosed(out, ["{", "}"], pairs, |out, (key, value)| {
                    write_repr(out, &key);
                    out.push_str(": ");
                    write_repr(out, &value);
                });
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                let is_tuple = value.is_tuple();
                let items = object.try_iter().into_iter().flatten();
                let brackets = match (is_tuple, object.enumerator_len()) {
                    (true, Some(1)) => ["(", ",)"],
                    (true, _) => ["(", ")"],
                    (false, _) => ["[", "]"],
                };
                enclosed(out, brackets, items, |out, item| write_repr(out, &item));
            }
            _ => {
                let _ = write!(out, "{value}");
            }
        }
    } else if value.is_undefined() {
        out.push_str("Undefined");
    } else {
        let _ = write!(out, "{value}");
    }
}

fn enclosed<T>(
    out: &mut String,
    [open, close]: [&str; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push_str(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
    out.push_str(close);
}

/// `repr` of a string.
fn quote(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if letter == quote => out.extend(['\\', quote]),
            _ if is_printable(letter) => out.push(letter),
            _ => escape(out, letter),
        }
    }
    out.push(quote);
}

fn escape(out: &mut String, letter: char) {
    let _ = match u32::from(letter) {
        code @ 0..=0xFF => write!(out, "\\x{code:02x}"),
        code @ 0x100..=0xFFFF => write!(out, "\\u{code:04x}"),
        code => write!(out, "\\U{code:08x}"),
    };
}

/// `ascii(value)`.
pub(super) fn ascii(value: &Value) -> String {
    let mut out = String::new();
    for letter in repr(value).chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            escape(&mut out, letter);
        }
    }
    out
}

/// Whether Python prints a character unchanged: not a control, format, separator, private or unassigned character.
pub(super) fn is_printable(letter: char) -> bool {
    if letter.is_ascii() {
        return !letter.is_ascii_control();
    }
    // Rust escapes the same characters, and combining ones only at the start of a text.
    !String::from_iter(['a', letter])
        .escape_debug()
        .any(|shown| shown == '{')
}

/// Whether Python treats a character as whitespace.
pub(super) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\x1c'..='\x1f')
}

/// Assigns positional and named arguments to parameters.
pub(super) fn bind<const N: usize>(
    call: &str,
    names: [&str; N],
    given: &[Value],
) -> Result<[Option<Value>; N], Error> {
    let (by_position, by_name) = split_keywords(given);
    if by_position.len() > N {
        let message = format!("`{call}` takes at most {N} arguments, not {}", by_position.len());
        return Err(Error::new(ErrorKind::TooManyArguments, message));
    }
    let mut bound = std::array::from_fn(|at| by_position.get(at).cloned());
    let Some(keywords) = by_name else {
        return Ok(bound);
    };
    for name in keywords.args() {
        let place = names.iter().position(|known| *known == name);
        let place = place.filter(|at| bound[*at].is_none());
        let Some(place) = place else {
            let message = format!("`{call}` takes no argument `{name}`, or has it twice");
            return Err(Error::new(ErrorKind::TooManyArguments, message));
        };
        bound[place] = Some(keywords.get::<Value>(name)?);
    }
    Ok(bound)
}

/// Splits arguments into positional and named ones.
pub(super) fn split_keywords(given: &[Value]) -> (&[Value], Option<Kwargs>) {
    match given.split_last() {
        Some((last, rest)) if last.is_kwargs() => (rest, Kwargs::try_from(last.clone()).ok()),
        _ => (given, None),
    }
}

/// A required argument.
pub(super) fn required(call: &str, argument: Option<Value>) -> Result<Value, Error> {
    argument.ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("`{call}` lacks an argument")))
}

/// An integer argument; `true` is 1, as in Python.
pub(super) fn integer(call: &str, value: &Value) -> Result<i64, Error> {
    let number = match value.kind() {
        ValueKind::Bool => Some(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i64::try_from(value.clone()).ok(),
        _ => None,
    };
    number.ok_or_else(|| invalid(format!("`{call}` takes a whole number, not {}", value.kind())))
}

/// A string argument.
pub(super) fn string<'a>(call: &str, value: &'a Value) -> Result<&'a str, Error> {
    value
        .as_str()
        .ok_or_else(|| invalid(format!("`{call}` takes a string, not {}", value.kind())))
}
