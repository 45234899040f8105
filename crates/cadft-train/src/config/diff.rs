//! Recipes compared key by key.

use super::Recipe;
use serde::Serialize;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// A key whose resolved values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Dotted key.
    pub key: String,
    /// The first recipe's value as TOML; `None` where it has none.
    pub left: Option<String>,
    /// The second recipe's.
    pub right: Option<String>,
}

/// Every key of a recipe, dotted, with its value as TOML; defaults included.
#[must_use]
pub fn settings(recipe: &Recipe) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    // A recipe consists of what TOML has.
    if let Ok(table) = Table::try_from(recipe) {
        collect("", &table, &mut settings);
    }
    settings
}

fn collect(prefix: &str, table: &Table, settings: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) if inner.is_empty() => {
                settings.insert(path, "{}".to_owned());
            }
            Value::Table(inner) => collect(&format!("{path}."), inner, settings),
            value => {
                settings.insert(path, value.to_string());
            }
        }
    }
}

/// The keys whose values differ, sorted; a key that only one recipe has is one of them.
#[must_use]
pub fn difference(left: &Recipe, right: &Recipe) -> Vec<Difference> {
    let (left, mut right) = (settings(left), settings(right));
    let mut differences: Vec<Difference> = left
        .into_iter()
        .map(|(key, left)| Difference {
            right: right.remove(&key),
            key,
            left: Some(left),
        })
        .filter(|difference| difference.left != difference.right)
        .collect();
    differences.extend(right.into_iter().map(|(key, right)| Difference {
        key,
        left: None,
        right: Some(right),
    }));
    differences.sort_by(|a, b| a.key.cmp(&b.key));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_listed_and_absent_values_are_told_apart() {
        let left = Recipe::default();
        let mut right = left.clone();
        assert_eq!(difference(&left, &right), []);
        right.optimizer.lr = 1e-3;
        right.schedule.steps = Some(7);
        let found = difference(&left, &right);
        let keys: Vec<_> = found.iter().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, ["optimizer.lr", "schedule.steps"]);
        assert_eq!((&found[1].left, found[1].right.as_deref()), (&None, Some("7")));
    }
}
