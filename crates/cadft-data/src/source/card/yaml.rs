//! Parses YAML to JSON values: lists, mappings and scalars. Numbers stay text, because no number is needed here.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Largest nesting depth of lists and mappings.
const MAX_DEPTH: usize = 64;

/// A list or a mapping that is not complete yet.
enum Open {
    List(Vec<Value>),
    /// The mapping, and the key of the next value.
    Mapping(Map<String, Value>, Option<String>),
}

/// Parses the first document of a text.
///
/// # Errors
/// What is wrong with the text. Aliases are errors, because a few of them can expand to gigabytes.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let value = match event {
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == MAX_DEPTH => {
                return Err(format!(
                    "more than {MAX_DEPTH} lists and mappings within each other"
                ));
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(values)) => Value::Array(values),
                Some(Open::Mapping(fields, _)) => Value::Object(fields),
                None => return Err("a list or mapping ends that never began".to_owned()),
            },
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::Alias(_) => return Err("aliases are not read".to_owned()),
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::List(values)) => values.push(value),
            Some(Open::Mapping(fields, key)) => match key.take() {
                Some(key) => {
                    fields.insert(key, value);
                }
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            },
        }
    }
    Ok(Value::Null)
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        _ if style != ScalarStyle::Plain => Value::from(text),
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        text => Value::from(text),
    }
}
