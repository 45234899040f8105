//! Converts older recipes to the present format, and keeps comments.
//!
//! There is only one format so far. A migration adds the header `format-version`, and replaces underscores in keys.

use super::parse::lines::line_at;
use super::{FORMAT_VERSION, schema};
use crate::error::{ConfigProblem, TrainError};
use serde_json::Value;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A recipe in the present format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The recipe's text; comments and order are kept.
    pub text: String,
    /// The changes, one line each; empty if there are none.
    pub changes: Vec<String>,
}

/// Converts the text of a recipe to the present format; `name` is its name in errors.
///
/// Only the format changes. Unknown keys are kept: [`parse`](super::parse()) refuses them.
///
/// # Errors
/// [`TrainError::Config`] if the text is not TOML, or was written by a newer release.
pub fn migrate(name: &str, text: &str) -> Result<Migration, TrainError> {
    let fail = |line, key: &str, message: String| TrainError::Config {
        name: name.to_owned(),
        problems: vec![ConfigProblem {
            set: None,
            line,
            key: key.to_owned(),
            message,
            hint: None,
        }],
    };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_at(text, span.start));
        fail(line, "", error.message().to_owned())
    })?;
    let version = table
        .get_ref()
        .iter()
        .find(|(key, _)| key.get_ref() == "format-version");
    if let Some((key, value)) = version {
        let found = &text[value.span()];
        if found != FORMAT_VERSION.to_string() {
            let line = Some(line_at(text, key.span().start));
            let message = format!("`{found}` is not a format that this release knows; it knows 1");
            return Err(fail(line, "format-version", message));
        }
    }
    let mut edits = vec![];
    respell(table.get_ref(), &schema(), &mut edits);
    edits.sort_by_key(|(span, _)| span.start);
    let mut changes: Vec<String> = edits
        .iter()
        .map(|(span, key)| {
            let line = line_at(text, span.start);
            format!("{name}:{line}: `{}` is now `{key}`", &text[span.clone()])
        })
        .collect();
    let mut migrated = text.to_owned();
    for (span, key) in edits.into_iter().rev() {
        migrated.replace_range(span, &key);
    }
    if version.is_none() {
        migrated.insert_str(
            header_place(text),
            &format!("format-version = {FORMAT_VERSION}\n\n"),
        );
        changes.insert(0, format!("{name}: has `format-version = {FORMAT_VERSION}` now"));
    }
    Ok(Migration {
        text: migrated,
        changes,
    })
}

/// The keys of `table` that are in `schema` once underscores are replaced by dashes.
fn respell(table: &DeTable<'_>, schema: &Value, edits: &mut Vec<(Range<usize>, String)>) {
    for (key, value) in table {
        let dashed = key.get_ref().replace('_', "-");
        let Some(known) = property(schema, &dashed) else {
            continue;
        };
        if dashed != key.get_ref().as_ref() && property(schema, key.get_ref()).is_none() {
            edits.push((key.span(), dashed));
        }
        if let DeValue::Table(inner) = value.get_ref() {
            respell(inner, known, edits);
        }
    }
}

/// The schema of a key, in any of the alternatives of the table's schema.
fn property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let forms = ["oneOf", "anyOf", "allOf"]
        .iter()
        .filter_map(|form| schema[*form].as_array());
    schema["properties"]
        .get(key)
        .or_else(|| forms.flatten().find_map(|form| property(form, key)))
}

/// The position for the first key: after the comment at the top of the file.
fn header_place(text: &str) -> usize {
    text.split_inclusive('\n')
        .take_while(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        .map(str::len)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn the_header_and_the_dashes_are_put_in_and_comments_stay() {
        let old = "# Mine.\n\n[model]\npath = \"m\"\n[data]\ntrain = [\"t_x\"] # max_length\nmax_length = 5\n\
                   [objective.cadft]\nstatistics_decay = 0.5\n";
        let migration = migrate("r.toml", old).unwrap();
        assert_eq!(
            migration.text,
            "# Mine.\n\nformat-version = 1\n\n[model]\npath = \"m\"\n[data]\ntrain = [\"t_x\"] # max_length\nmax-length = \
             5\n[objective.cadft]\nstatistics-decay = 0.5\n"
        );
        assert_eq!(
            migration.changes,
            [
                "r.toml: has `format-version = 1` now",
                "r.toml:7: `max_length` is now `max-length`",
                "r.toml:9: `statistics_decay` is now `statistics-decay`",
            ]
        );
        let recipe = parse("r.toml", &migration.text, &[]).unwrap();
        assert_eq!(recipe.data.max_length, 5);
        let again = migrate("r.toml", &migration.text).unwrap();
        assert_eq!((again.text, again.changes.len()), (migration.text, 0));
    }

    #[test]
    fn formats_of_the_future_are_refused_with_their_line() {
        let message = migrate("r.toml", "\nformat-version = 2\n")
            .unwrap_err()
            .to_string();
        assert!(message.contains("r.toml:2: `format-version`: `2`"), "{message}");
        let message = parse("r.toml", "format-version = 2\n", &[])
            .unwrap_err()
            .to_string();
        assert!(message.contains("r.toml:1: `format-version`"), "{message}");
    }

    #[test]
    fn text_that_is_no_toml_is_refused_with_its_line() {
        let message = migrate("r.toml", "[model]\npath =\n").unwrap_err().to_string();
        assert!(message.contains("r.toml:2"), "{message}");
    }
}
