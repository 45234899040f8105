//! Names, values and lists in messages, cut to a readable length.

use std::borrow::Cow;
use std::fmt::Display;

use cadft_files::visible_name;
use serde_json::Value;

/// Largest number of characters of a name or value in a message.
const LONGEST: usize = 120;

/// Largest number of items of a list in a message.
const MOST: usize = 20;

/// A name or value in one line, with hidden characters escaped; cut if it is too long.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        None => visible_name(text),
        Some((end, _)) => Cow::Owned(format!("{}…", visible_name(&text[..end]))),
    }
}

/// The first items of a list, each cut if it is too long, and the number of further ones.
pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    joined(
        items
            .into_iter()
            .map(|item| short(&item.to_string()).into_owned()),
    )
}

/// Like [`list`], with each name in backticks.
pub(crate) fn names<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    joined(
        names
            .into_iter()
            .map(|name| format!("`{}`", short(name.as_ref()))),
    )
}

fn joined(mut items: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<_> = items.by_ref().take(MOST).collect();
    match items.count() {
        0 => shown.join(", "),
        more => {
            shown.push(format!("and {more} more"));
            shown.join(", ")
        }
    }
}

/// The JSON type of a value, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_and_lists_are_cut() {
        assert_eq!(short("é".repeat(120).as_str()), "é".repeat(120));
        assert_eq!(short(&"é".repeat(121)), format!("{}…", "é".repeat(120)));
        assert_eq!(names(["a", "b"]), "`a`, `b`");
        let many = names((0..30).map(|index| index.to_string()));
        assert!(many.ends_with("`19`, and 10 more"), "{many}");
        assert_eq!(names([&"x".repeat(200)]), format!("`{}…`", "x".repeat(120)));
    }
}
