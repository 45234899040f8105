//! JSON with exact integers: those beyond 64 bits are refused, as they would otherwise be rounded silently.

use serde_json::Value;

use crate::shown::short;

/// An integer that does not fit in 64 bits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    /// The key in the outermost object whose value contains the integer.
    key: String,
    digits: String,
}

impl TooLarge {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn message(&self) -> String {
        let digits = short(&self.digits);
        format!("the number {digits} is beyond 64 bits and would be rounded; write it as a string")
    }
}

/// Largest number of values in a JSON text. A value may have two bytes of text, but takes more memory.
const MAX_VALUES: usize = 2_000_000;

/// Refuses a text whose values would fill the memory.
pub(crate) fn check_size(text: &str) -> Result<(), String> {
    if text.len() < 2 * MAX_VALUES {
        return Ok(());
    }
    let (bytes, mut values, mut at) = (text.as_bytes(), 0, 0);
    while let Some(&byte) = bytes.get(at) {
        values += usize::from(matches!(byte, b',' | b'[' | b'{'));
        at = if byte == b'"' {
            string_end(bytes, at)
        } else {
            at + 1
        };
    }
    if values > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    Ok(())
}

/// Parses the value of a JSON text.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    check_size(text)?;
    let value = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("no JSON: {message} at column {}", error.column())
    })?;
    match too_large(text).first() {
        None => Ok(value),
        Some(number) => Err(number.message()),
    }
}

/// The integers in well-formed JSON that do not fit in 64 bits.
pub(crate) fn too_large(text: &str) -> Vec<TooLarge> {
    // Such integers have at least 19 digits, so they cover at least one 16th byte. Very few rows have such a run of
    // digits.
    let bytes = text.as_bytes();
    let is_long = |at: usize| {
        let before = bytes[..at]
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let after = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        before + after >= 19
    };
    let has_long = (0..bytes.len())
        .step_by(16)
        .any(|at| bytes[at].is_ascii_digit() && is_long(at));
    if has_long { scan(text) } else { Vec::new() }
}

fn scan(text: &str) -> Vec<TooLarge> {
    let bytes = text.as_bytes();
    let (mut found, mut depth, mut key, mut at) = (Vec::new(), 0_usize, String::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b'"' => string_end(bytes, at),
            b'-' | b'0'..=b'9' => number_end(bytes, at),
            _ => at + 1,
        };
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' if depth == 1 && bytes[end..].trim_ascii_start().starts_with(b":") => {
                key = serde_json::from_str(&text[at..end]).unwrap_or_default();
            }
            b'-' | b'0'..=b'9' if !fits(&text[at..end]) => found.push(TooLarge {
                key: key.clone(),
                digits: text[at..end].to_owned(),
            }),
            _ => {}
        }
        at = end;
    }
    found
}

/// The end of the string that starts here.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let length = bytes[start..].iter().take_while(|byte| is_part(byte)).count();
    start + length
}

/// Whether a number is not an integer, or an integer of at most 64 bits.
fn fits(number: &str) -> bool {
    number.contains(['.', 'e', 'E']) || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        serde_json::from_str::<Value>(text).unwrap();
        let found = too_large(text).into_iter();
        found.map(|number| (number.key, number.digits)).collect()
    }

    #[test]
    fn integers_beyond_64_bits_are_found_under_their_key() {
        let text = r#"{"a\"": [{"b": 18446744073709551616}], "c": -9223372036854775809, "d": "18446744073709551616"}"#;
        let expected = [("a\"", "18446744073709551616"), ("c", "-9223372036854775809")];
        assert_eq!(
            found(text),
            expected.map(|(key, digits)| (key.to_owned(), digits.to_owned()))
        );
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in [
            "[18446744073709551615, -9223372036854775808]",
            "[1234567890123456789012.5, 1e30, 0.1234567890123456789012]",
            r#"{"\\": "\"99999999999999999999", "99999999999999999999": 1}"#,
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
