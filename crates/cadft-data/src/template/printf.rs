//! Python's formatting: `'%s' % values`, the filter `format`, and `'{}'.format(..)`.
//!
//! Texts are formatted here; numbers are passed to the engine one at a time.

use minijinja::formatting::{FormatStyle, format as engine_format};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, State, Value};

use super::fuel::{afford, measure, weight};
use super::python::{ascii, integer, invalid, repr, split_keywords, text};

/// Largest width of a field.
const WIDEST: u64 = 1 << 20;

/// `format % values`.
pub(super) fn modulo(state: &State<'_, '_>, format: &str, values: &Value) -> Result<String, Error> {
    let units = measure(state, values)?;
    let is_map = values.kind() == ValueKind::Map;
    let items: Vec<Value> = match values.is_tuple() {
        true => values.try_iter()?.collect(),
        false => vec![values.clone()],
    };
    let mut arguments = Arguments {
        map: is_map.then_some(values),
        items: &items,
        next: 0,
    };
    let specs = format.matches('%').count() as u64;
    afford(state, units.saturating_mul(specs.saturating_mul(8)))?;
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (spec, after) = Spec::parse(&rest[at + 1..], &mut arguments)?;
        rest = after;
        afford(
            state,
            spec.width
                .saturating_add(spec.precision.unwrap_or(0))
                .saturating_add(out.len() as u64),
        )?;
        spec.write(&mut out, &mut arguments)?;
    }
    out.push_str(rest);
    let is_used = arguments.next == items.len() || is_map;
    if !is_used {
        return Err(invalid("not all arguments converted during string formatting"));
    }
    Ok(out)
}

/// The filter: keyword arguments become a dictionary, positional ones a tuple.
pub(super) fn filter(state: &State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
    let Some((format, rest)) = arguments.split_first() else {
        return Err(invalid("`format` takes a string"));
    };
    let (by_position, by_name) = split_keywords(rest);
    let values = match by_name {
        Some(_) if !by_position.is_empty() => {
            return Err(invalid(
                "`format` takes arguments by position or by name, not both",
            ));
        }
        Some(names) => map_of(&names)?,
        None => Value::from(minijinja::value::Tuple::from(by_position)),
    };
    modulo(state, &text(format), &values).map(Value::from)
}

fn map_of(names: &Kwargs) -> Result<Value, Error> {
    let pairs = names.args().map(|name| Ok((name, names.get::<Value>(name)?)));
    Ok(Value::from_pairs(pairs.collect::<Result<Vec<_>, Error>>()?))
}

/// The source of a format's values.
struct Arguments<'a> {
    map: Option<&'a Value>,
    items: &'a [Value],
    next: usize,
}

impl Arguments<'_> {
    fn next(&mut self) -> Result<Value, Error> {
        let item = self.items.get(self.next).cloned();
        self.next += 1;
        item.ok_or_else(|| invalid("not enough arguments for format string"))
    }
}

/// A specification such as `%(key)-05.2f`.
struct Spec {
    key: Option<String>,
    flags: String,
    width: u64,
    precision: Option<u64>,
    letter: char,
}

impl Spec {
    /// Parses the specification that follows a `%`; returns it with the rest of the text.
    fn parse<'f>(text: &'f str, arguments: &mut Arguments<'_>) -> Result<(Self, &'f str), Error> {
        let mut rest = text;
        let mut key = None;
        if let Some(inner) = rest.strip_prefix('(') {
            let (name, after) = inner
                .split_once(')')
                .ok_or_else(|| invalid("incomplete format key"))?;
            (key, rest) = (Some(name.to_owned()), after);
        }
        let after = rest.trim_start_matches(['-', '+', ' ', '#', '0']);
        let mut flags = rest[..rest.len() - after.len()].to_owned();
        rest = after;
        let (width, after) = size(rest, arguments)?;
        rest = after;
        if width.is_some_and(|width| width < 0) {
            flags.push('-');
        }
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let (found, after) = size(after, arguments)?;
            (precision, rest) = (Some(found.unwrap_or(0).max(0).unsigned_abs()), after);
        }
        rest = rest.trim_start_matches(['h', 'l', 'L']);
        let letter = rest.chars().next().ok_or_else(|| invalid("incomplete format"))?;
        let width = width.unwrap_or(0).unsigned_abs();
        let spec = Self {
            key,
            flags,
            width,
            precision,
            letter,
        };
        if spec.width > WIDEST || spec.precision.is_some_and(|precision| precision > WIDEST) {
            return Err(Error::from(minijinja::ErrorKind::OutOfFuel));
        }
        Ok((spec, &rest[letter.len_utf8()..]))
    }

    fn write(&self, out: &mut String, arguments: &mut Arguments<'_>) -> Result<(), Error> {
        if self.letter == '%' {
            out.push('%');
            return Ok(());
        }
        let value = match &self.key {
            None => arguments.next()?,
            Some(key) => {
                let map = arguments
                    .map
                    .ok_or_else(|| invalid("format requires a mapping"))?;
                let value = map
                    .as_object()
                    .and_then(|map| map.get_value(&Value::from(key.as_str())));
                value.ok_or_else(|| invalid(format!("no value for `%({key})`")))?
            }
        };
        let shown = match self.letter {
            's' => text(&value),
            'r' => repr(&value),
            'a' => ascii(&value),
            'c' if value.as_str().is_some_and(|text| text.chars().count() == 1) => text(&value),
            _ => return self.number(out, &value),
        };
        let limit = self.precision.filter(|_| self.letter != 'c');
        let shown: String = match limit {
            Some(precision) => shown
                .chars()
                .take(usize::try_from(precision).unwrap_or(usize::MAX))
                .collect(),
            None => shown,
        };
        let missing = usize::try_from(self.width)
            .unwrap_or(0)
            .saturating_sub(shown.chars().count());
        let padding = " ".repeat(missing);
        if self.flags.contains('-') {
            out.extend([shown, padding]);
        } else {
            out.extend([padding, shown]);
        }
        Ok(())
    }

    /// Formats a number with the engine.
    fn number(&self, out: &mut String, value: &Value) -> Result<(), Error> {
        if !matches!(value.kind(), ValueKind::Number | ValueKind::Bool) {
            return Err(invalid(format!(
                "`%{}` takes a number, not {}",
                self.letter,
                value.kind()
            )));
        }
        let value = match value.kind() {
            ValueKind::Bool => Value::from(i64::from(value.is_true())),
            _ => value.clone(),
        };
        let width = if self.width > 0 {
            self.width.to_string()
        } else {
            String::new()
        };
        let precision = self
            .precision
            .map(|precision| format!(".{precision}"))
            .unwrap_or_default();
        let letter = match self.letter {
            'i' | 'u' => 'd',
            letter => letter,
        };
        let value = match letter {
            // Python cuts off the fraction.
            'd' if !value.is_integer() => {
                let number = f64::try_from(value)?.trunc();
                i128::try_from(Value::from(number)).map_or_else(|_| Value::from(number), Value::from)
            }
            _ => value,
        };
        let format = format!("%{}{width}{precision}{letter}", self.flags);
        out.push_str(&engine_format(FormatStyle::Printf, &format, &[value])?);
        Ok(())
    }
}

/// A width or precision, either a number or `*`.
fn size<'f>(text: &'f str, arguments: &mut Arguments<'_>) -> Result<(Option<i64>, &'f str), Error> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((Some(integer("%", &arguments.next()?)?), rest));
    }
    let rest = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    let number = (!digits.is_empty()).then(|| digits.parse().unwrap_or(i64::MAX));
    Ok((number, rest))
}

/// `format.format(..)`: a field without a format is `str` of its value; other fields are passed to the engine.
pub(super) fn braces(state: &State<'_, '_>, format: &str, arguments: &[Value]) -> Result<String, Error> {
    let mut units = widths(format);
    let fields = format.matches('{').count() as u64;
    for argument in arguments {
        units = units.saturating_add(weight(state, argument)?.saturating_mul(fields.saturating_mul(8)));
    }
    afford(state, units)?;
    let mut out = String::new();
    let mut rest = format;
    let mut automatic = 0_usize;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        if rest[at + 1..].starts_with(brace) {
            out.push_str(brace);
            rest = &rest[at + 2..];
            continue;
        }
        let (field, after) = field(&rest[at..])?;
        rest = after;
        let (path, conversion, spec) = parts(field);
        let path = if path.is_empty() || path.starts_with(['.', '[']) {
            automatic += 1;
            format!("{}{path}", automatic - 1)
        } else {
            path.to_owned()
        };
        let value = found(&path, arguments)?;
        let value = match conversion {
            None => value,
            Some("s") => Value::from(text(&value)),
            Some("r") => Value::from(repr(&value)),
            Some("a") => Value::from(ascii(&value)),
            Some(other) => return Err(invalid(format!("unknown conversion `!{other}`"))),
        };
        if spec.is_empty() {
            out.push_str(&text(&value));
        } else if spec.contains('{') {
            let whole = format!("{{{path}:{spec}}}");
            out.push_str(&engine_format(FormatStyle::StrFormat, &whole, arguments)?);
        } else {
            let whole = format!("{{0:{spec}}}");
            out.push_str(&engine_format(FormatStyle::StrFormat, &whole, &[value])?);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The sum of the numbers between braces: a lower bound for the width of the text.
fn widths(text: &str) -> u64 {
    let specs = text.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let numbers = specs.flat_map(|spec| spec.split(|letter: char| !letter.is_ascii_digit()));
    numbers
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().unwrap_or(u64::MAX))
        .fold(0, u64::saturating_add)
}

/// The content of the braces at the start of a text, and the text after them.
fn field(text: &str) -> Result<(&str, &str), Error> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth <= 1 => {
                return match depth {
                    1 => Ok((&text[1..at], &text[at + 1..])),
                    _ => Err(invalid("single `}` in a format")),
                };
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    Err(invalid("single `{` in a format"))
}

/// `path!conversion:spec`.
fn parts(field: &str) -> (&str, Option<&str>, &str) {
    let (head, spec) = field.split_once(':').unwrap_or((field, ""));
    match head.split_once('!') {
        Some((path, conversion)) => (path, Some(conversion), spec),
        None => (head, None, spec),
    }
}

/// The value at a path such as `0`, `name`, `0[key]` or `name.attribute`.
fn found(path: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (by_position, by_name) = split_keywords(arguments);
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (first, mut rest) = path.split_at(end);
    let missing = || invalid(format!("no value for `{{{path}}}`"));
    let mut value = match first.parse::<usize>() {
        Ok(index) => by_position.get(index).cloned().ok_or_else(missing)?,
        Err(_) => by_name
            .and_then(|names| names.get::<Value>(first).ok())
            .ok_or_else(missing)?,
    };
    while !rest.is_empty() {
        let (key, after) = if let Some(inner) = rest.strip_prefix('[') {
            inner.split_once(']').ok_or_else(missing)?
        } else {
            let inner = &rest[1..];
            inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
        };
        value = match key.parse::<usize>() {
            Ok(index) => value.get_item_by_index(index)?,
            Err(_) => value.get_attr(key)?,
        };
        rest = after;
    }
    Ok(value)
}
