//! JSON as Python writes it: `Infinity` and `NaN` are read and written back, and duplicate keys are errors.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::shown::cut;

/// Python's notation for numbers that JSON lacks.
const NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
/// Prefix of such a number when it is kept as a string. No string in a file begins with it.
const MARK: &str = "\0number:";

/// Reads an object from bytes.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let bytes = quote_numbers(bytes);
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = Unique { key: None }.deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(serde_json::Error::custom("the file does not hold an object")),
    }
}

/// Formats JSON as Hugging Face does: indented by two spaces, with a newline at the end.
pub(crate) fn pretty<T: Serialize>(value: &T) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut text = unquote_numbers(&text).into_bytes();
    text.push(b'\n');
    text
}

/// Shows a value in a message; a long value is cut.
pub(crate) fn show(value: &Value) -> String {
    cut(&unquote_numbers(&value.to_string()))
}

/// Replaces numbers that JSON lacks by marked strings.
fn quote_numbers(bytes: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(bytes.len());
    let (mut at, mut in_string) = (0, false);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let number = NUMBERS.iter().find(|number| rest.starts_with(number.as_bytes()));
        match (in_string, rest[0], number) {
            (true, b'\\', _) => {
                quoted.extend(&rest[..rest.len().min(2)]);
                at += 2;
            }
            (false, _, Some(number)) => {
                quoted.extend(format!("\"\\u0000{}{number}\"", &MARK[1..]).bytes());
                at += number.len();
            }
            (_, byte, _) => {
                in_string ^= byte == b'"';
                quoted.push(byte);
                at += 1;
            }
        }
    }
    quoted
}

fn unquote_numbers(text: &str) -> String {
    NUMBERS.iter().fold(text.to_owned(), |text, number| {
        text.replace(&format!("\"\\u0000{}{number}\"", &MARK[1..]), number)
    })
}

/// Deserialises a value; an error for an object with a duplicate key.
struct Unique<'a> {
    /// The key of the value in the enclosing object.
    key: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(value) = values.next_element_seed(Unique { key: self.key })? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let place = self.key.map_or_else(String::new, |outer| format!("{outer}."));
                return Err(A::Error::custom(format!(
                    "`{}` appears twice",
                    cut(&format!("{place}{key}"))
                )));
            }
            let value = entries.next_value_seed(Unique { key: Some(&key) })?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_of_python_come_back_as_they_were() {
        let text = "{\n  \"a\": [\n    -Infinity,\n    NaN\n  ],\n  \"b\\\"Infinity\": \"Infinity\",\n  \"c\": Infinity\n}\n";
        let object = parse_object(text.as_bytes()).unwrap();
        assert_eq!(object["b\"Infinity"], json!("Infinity"));
        assert!(object["c"].as_f64().is_none());
        assert_eq!(pretty(&object), text.as_bytes());
        assert_eq!(show(&object["c"]), "Infinity");
    }

    #[test]
    fn a_key_that_appears_twice_is_named() {
        let error = |text: &str| parse_object(text.as_bytes()).unwrap_err().to_string();
        assert!(error(r#"{"a": 1, "b": 2, "a": 3}"#).contains("`a` appears twice"));
        assert!(error(r#"{"rope": {"factor": 1, "factor": 2}}"#).contains("`rope.factor` appears twice"));
        assert!(error("[1]").contains("object"));
        assert!(error(r#"{"a": Infinit}"#).contains("expected value"));
    }

    #[test]
    fn plain_json_is_read_as_serde_json_reads_it() {
        let text =
            r#"{"a": [1, -2, 2.5, 1e300, true, null, "x\"\\"], "b": {"c": {}}, "d": 18446744073709551615}"#;
        let plain: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(parse_object(text.as_bytes()).unwrap(), plain);
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let long = show(&json!("ä".repeat(5000)));
        assert!(long.chars().count() < 150 && long.ends_with('…'));
    }
}
