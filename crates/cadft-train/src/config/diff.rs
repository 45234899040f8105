//! Compares recipes key by key.

use super::Recipe;
use crate::dotted;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// A key whose resolved values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// Dotted key.
    pub key: String,
    /// The value in the first recipe, as TOML; null if it has none.
    pub left: Option<String>,
    /// The value in the second recipe.
    pub right: Option<String>,
}

/// The keys whose values differ, sorted, including keys that only one recipe has.
#[must_use]
pub fn difference(left: &Recipe, right: &Recipe) -> Vec<Difference> {
    let [left, right] = [left, right].map(|recipe| dotted::flatten(&json!(recipe)));
    dotted::differences(&left, &right)
        .into_iter()
        .map(|(key, [left, right])| Difference {
            key,
            left: as_toml(&left),
            right: as_toml(&right),
        })
        .collect()
}

fn as_toml(value: &Value) -> Option<String> {
    // A number that TOML cannot represent is written as in JSON.
    let text = || toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string());
    (!value.is_null()).then(text)
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
        assert_eq!(found[0].right.as_deref(), Some("0.001"), "as TOML writes it");
    }
}
