//! The `tojson` filter as Hugging Face defines it: Python's `json.dumps`, by default without ASCII escapes.

use std::fmt::Write;

use minijinja::value::{ObjectRepr, ValueKind};
use minijinja::{Error, Value};

use super::python::{as_float, bind, float, integer, invalid, required};

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) struct ToJson {
    is_ascii: bool,
    /// The indentation of a level; `None` writes everything in one line.
    indent: Option<String>,
    item: String,
    key: String,
    sorts: bool,
}

impl ToJson {
    /// The value and the options from a call's arguments.
    pub(super) fn of_call(given: &[Value]) -> Result<(Value, Self), Error> {
        let names = ["x", "ensure_ascii", "indent", "separators", "sort_keys"];
        let [value, is_ascii, indent, separators, sorts] = bind("tojson", names, given)?;
        let given = |option: Option<Value>| option.filter(|option| !option.is_none());
        let is_set = |option: Option<Value>| option.is_some_and(|option| option.is_true());
        let indent = given(indent)
            .map(|indent| match indent.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => integer("tojson", &indent).and_then(|width| {
                    let width = usize::try_from(width.max(0)).unwrap_or(0);
                    if width > 1 << 20 {
                        return Err(invalid("`tojson` indents no further than 1048576"));
                    }
                    Ok(" ".repeat(width))
                }),
            })
            .transpose()?;
        let (mut item, mut key) = (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        );
        if let Some(separators) = given(separators) {
            let pair: Vec<Value> = separators.try_iter()?.collect();
            match (
                pair.as_slice(),
                pair.first().and_then(Value::as_str),
                pair.get(1).and_then(Value::as_str),
            ) {
                ([_, _], Some(first), Some(second)) => (item, key) = (first.to_owned(), second.to_owned()),
                _ => return Err(invalid("tojson: `separators` takes two strings")),
            }
        }
        let options = Self {
            is_ascii: is_set(is_ascii),
            indent,
            item,
            key,
            sorts: is_set(sorts),
        };
        Ok((required("tojson", value)?, options))
    }

    /// Largest number of bytes around an item at this depth.
    pub(super) fn around(&self, depth: u64) -> u64 {
        let indent = self.indent.as_ref().map_or(0, String::len) as u64;
        let separators = (self.item.len() + self.key.len()) as u64;
        indent.saturating_mul(depth).saturating_add(separators)
    }

    /// The value as JSON.
    pub(super) fn write(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.value(&mut out, value, 0)?;
        Ok(out)
    }

    fn value(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if let Some(text) = value.as_str() {
            self.string(out, text);
            return Ok(());
        }
        if let Some(number) = as_float(value) {
            out.push_str(&json_float(number));
            return Ok(());
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let _ = write!(out, "{value}");
            }
            ValueKind::Map => self.map(out, value, depth)?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
                self.enclosed(out, ['[', ']'], depth, &items, |out, item| {
                    self.value(out, item, depth + 1)
                })?;
            }
            kind => {
                return Err(invalid(format!(
                    "a value of type {kind} cannot be written as JSON"
                )));
            }
        }
        Ok(())
    }

    fn map(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        let object = value
            .as_object()
            .filter(|object| object.repr() == ObjectRepr::Map);
        let pairs = object.and_then(|object| object.try_iter_pairs().map(Iterator::collect::<Vec<_>>));
        let mut pairs = pairs.unwrap_or_default();
        if self.sorts {
            let is_text = pairs.iter().all(|(key, _)| key.as_str().is_some());
            let is_number = pairs.iter().all(|(key, _)| key.is_number());
            if !is_text && !is_number {
                return Err(invalid("tojson: keys of several types cannot be sorted"));
            }
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.enclosed(out, ['{', '}'], depth, &pairs, |out, (key, value)| {
            self.string(out, &key_text(key)?);
            out.push_str(&self.key);
            self.value(out, value, depth + 1)
        })
    }

    fn enclosed<T>(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        depth: usize,
        items: &[T],
        mut write: impl FnMut(&mut String, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.item);
            }
            self.newline(out, depth + 1);
            write(out, item)?;
        }
        if !items.is_empty() {
            self.newline(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn newline(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&self, out: &mut String, text: &str) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\0'..='\u{1f}' => escape(out, letter),
                '\u{7f}'.. if self.is_ascii => escape(out, letter),
                _ => out.push(letter),
            }
        }
        out.push('"');
    }
}

fn escape(out: &mut String, letter: char) {
    for unit in letter.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

fn json_float(number: f64) -> String {
    match float(number).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        text => text.to_owned(),
    }
}

/// A dictionary key as the string that JSON requires.
fn key_text(key: &Value) -> Result<String, Error> {
    if let Some(text) = key.as_str() {
        return Ok(text.to_owned());
    }
    if let Some(number) = as_float(key) {
        return Ok(json_float(number));
    }
    match key.kind() {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(key.to_string()),
        kind => Err(invalid(format!("tojson: a key of type {kind}"))),
    }
}

/// A value as `json.dumps(value, ensure_ascii=False)` writes it.
pub(super) fn python_json(value: &Value) -> String {
    let options = ToJson {
        is_ascii: false,
        indent: None,
        item: ", ".to_owned(),
        key: ": ".to_owned(),
        sorts: false,
    };
    options.write(value).unwrap_or_default()
}
