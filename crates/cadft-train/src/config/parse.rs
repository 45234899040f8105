//! Reads a recipe. All unknown keys and wrong values are reported together, each with its line and a suggestion.

mod absent;
pub(in crate::config) mod lines;
mod names;
mod overrides;
mod words;

use super::Recipe;
use crate::error::{ConfigProblem, TrainError};
use lines::{line_at, line_of};
pub use overrides::set;
use overrides::to_blame;
use serde::de::DeserializeOwned;
use toml::{Table, Value};
use words::{explained, unknown_field, unknown_key};

/// Reads a recipe from TOML text. `KEY=VALUE` overrides are merged in before it is checked.
///
/// `name` is the name of the text in errors; a problem that an override causes is attributed to the override. A value
/// that is not valid TOML by itself is taken as a string, so that `model.path=models/x` needs no quotes. An override of
/// `schedule.steps` removes `schedule.epochs`, and conversely.
///
/// # Errors
/// [`TrainError::Config`] with all problems.
pub fn parse(name: &str, text: &str, overrides: &[String]) -> Result<Recipe, TrainError> {
    let fail = |problems| TrainError::Config {
        name: name.to_owned(),
        problems,
    };
    let mut table: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_at(text, span.start));
        fail(vec![ConfigProblem {
            line,
            set: None,
            key: String::new(),
            message: error.message().to_owned(),
            hint: None,
        }])
    })?;
    let mut problems = overrides::merge(&mut table, overrides);
    let mut reader = Reader {
        text,
        overrides,
        problems: &mut problems,
    };
    let recipe = reader.read(&table);
    recipe.check(&mut |key, message| {
        // The default that replaces a wrong value must not be reported as a second problem.
        if !reader.problems.iter().any(|problem| problem.key == key) {
            reader.report(key, message);
        }
    });
    if problems.is_empty() {
        Ok(recipe)
    } else {
        Err(fail(problems))
    }
}

/// The dotted key that `name` was probably meant to be. `name` may be a last part that only one key has, such as `lr`,
/// or the name in another program, such as `learning_rate`.
#[must_use]
pub fn suggested_key(name: &str) -> Option<&'static str> {
    names::suggested(name)
}

/// What to do instead of what other programs have under this name and cadft has not, such as `load_in_4bit`.
#[must_use]
pub fn instead_of(name: &str) -> Option<&'static str> {
    absent::instead(name)
}

struct Reader<'a> {
    text: &'a str,
    overrides: &'a [String],
    problems: &'a mut Vec<ConfigProblem>,
}

impl Reader<'_> {
    fn read(&mut self, table: &Table) -> Recipe {
        let defaults = Recipe::default();
        let mut known = vec![];
        macro_rules! section {
            ($field:ident) => {{
                let name = stringify!($field).replace('_', "-");
                let section = self.section(&name, table.get(&name), defaults.$field);
                known.push(name);
                section
            }};
        }
        let recipe = Recipe {
            format_version: section!(format_version),
            model: section!(model),
            adapter: section!(adapter),
            data: section!(data),
            batch: section!(batch),
            objective: section!(objective),
            reference: section!(reference),
            loss: section!(loss),
            optimizer: section!(optimizer),
            schedule: section!(schedule),
            rewrite: section!(rewrite),
            evaluate: section!(evaluate),
            checkpoint: section!(checkpoint),
            log: section!(log),
            guard: section!(guard),
            run: section!(run),
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            self.report(key, unknown_key(key, &known));
        }
        recipe
    }

    /// Reads one section. Removes unknown keys one by one, so that all of them are reported.
    fn section<T: DeserializeOwned>(&mut self, name: &str, value: Option<&Value>, default: T) -> T {
        let Some(value) = value else { return default };
        let mut value = value.clone();
        loop {
            match T::deserialize(value.clone()) {
                Ok(section) => return section,
                Err(error) => {
                    let message = error.message().trim().to_owned();
                    let unknown = unknown_field(&message)
                        .map(|(key, known)| (key.to_owned(), unknown_key(key, &known)));
                    match unknown {
                        Some((key, message)) => {
                            let path = remove(&mut value, &key, name);
                            self.report(path.as_deref().unwrap_or(name), message);
                            if path.is_none() {
                                return default;
                            }
                        }
                        None => {
                            let key = failing_key::<T>(&value, name);
                            self.report(&key, explained(&key, message));
                            // Continue with the rest of the section.
                            let wrong = key.strip_prefix(name).and_then(|key| key.strip_prefix('.'));
                            let table = value.as_table_mut().zip(wrong);
                            if table.and_then(|(table, key)| table.remove(key)).is_none() {
                                return default;
                            }
                        }
                    }
                }
            }
        }
    }

    fn report(&mut self, key: &str, message: String) {
        let set = to_blame(self.overrides, key).cloned();
        let line = (set.is_none()).then(|| line_of(self.text, key)).flatten();
        self.problems.push(ConfigProblem {
            line,
            set,
            key: key.to_owned(),
            hint: hint(key, &message),
            message,
        });
    }
}

/// What else helps with a problem: what there is instead of what is absent, or what the key means.
fn hint(key: &str, message: &str) -> Option<String> {
    let unknown = message
        .strip_prefix("unknown ")
        .and_then(|rest| rest.split('`').nth(1));
    match unknown.and_then(absent::instead) {
        Some(instead) => Some(instead.to_owned()),
        None => Some(format!("`{key}`: {}", names::about(key)?)),
    }
}

/// The key with the wrong value: one without which the section can be read, else one that cannot be read by itself.
fn failing_key<T: DeserializeOwned>(value: &Value, section: &str) -> String {
    let Some(table) = value.as_table() else {
        return section.to_owned();
    };
    let is_read_without = |key: &str| {
        let mut rest = table.clone();
        rest.remove(key);
        T::deserialize(Value::Table(rest)).is_ok()
    };
    let is_wrong_alone = |key: &str| {
        let alone = table.iter().filter(|(name, _)| *name == key);
        let alone = alone.map(|(name, value)| (name.clone(), value.clone())).collect();
        let error = T::deserialize(Value::Table(alone)).err();
        error.is_some_and(|error| unknown_field(error.message().trim()).is_none())
    };
    let found = table.keys().find(|key| is_read_without(key));
    let found = found.or_else(|| table.keys().find(|key| table.len() > 1 && is_wrong_alone(key)));
    found.map_or_else(|| section.to_owned(), |key| format!("{section}.{key}"))
}

/// Removes a key from a table or from the tables in it. Returns its dotted path.
fn remove(value: &mut Value, key: &str, path: &str) -> Option<String> {
    if let Some(list) = value.as_array_mut() {
        return list.iter_mut().find_map(|inner| remove(inner, key, path));
    }
    let table = value.as_table_mut()?;
    if table.remove(key).is_some() {
        return Some(format!("{path}.{key}"));
    }
    table
        .iter_mut()
        .find_map(|(name, inner)| remove(inner, key, &format!("{path}.{name}")))
}

#[cfg(test)]
mod tests;
