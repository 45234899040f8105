//! Property tests that hold for every key of a recipe. The keys are taken from the schema.

use super::{Recipe, difference, parse, schema};
use crate::dotted;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SMALL: &str = "[model]\npath = \"m\"\n[data]\ntrain = [\"t.jsonl\"]\neval = [\"e.jsonl\"]\n";

/// A key of the schema: its dotted path, and its schema.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) path: String,
    pub(crate) schema: Value,
}

/// Every key that holds a value rather than a table, including those of all objectives.
pub(crate) fn keys() -> Vec<Key> {
    let mut keys = vec![];
    collect("", &schema(), &mut keys);
    keys
}

/// The keys of token gates. A value is a name, or a table of settings under the name.
pub(crate) const GATES: [&str; 2] = ["objective.cadft.gate", "objective.kl-sft.gate"];

fn collect(prefix: &str, schema: &Value, keys: &mut Vec<Key>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let forms = tables(schema);
        for table in &forms {
            collect(&format!("{path}."), table, keys);
        }
        if forms.is_empty() || GATES.contains(&path.as_str()) {
            let schema = schema.clone();
            keys.push(Key { path, schema });
        }
    }
}

/// The alternatives of a schema that are tables: the schema itself, or members of its list of alternatives.
fn tables(schema: &Value) -> Vec<&Value> {
    let forms = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    let forms = forms.into_iter().flatten();
    std::iter::once(schema)
        .chain(forms)
        .filter(|form| form["properties"].is_object())
        .collect()
}

fn read(assignment: &str) -> Result<Recipe, String> {
    parse("r.toml", SMALL, &[assignment.to_owned()]).map_err(|error| error.to_string())
}

/// `key` with one letter dropped, doubled, replaced or inserted.
fn misspelt(key: &str, place: usize, letter: char, edit: usize) -> String {
    let mut letters: Vec<char> = key.chars().collect();
    let place = place % letters.len();
    match edit {
        0 if letters.len() > 1 => {
            letters.remove(place);
        }
        1 => letters[place] = letter,
        2 => letters.insert(place, letters[place]),
        _ => letters.insert(place, letter),
    }
    letters.into_iter().collect()
}

proptest! {
    #[test]
    fn a_mistyped_key_is_refused_with_a_suggestion(
        key in any::<prop::sample::Index>(),
        place in 0_usize..40,
        letter in "[a-z]",
        edit in 0_usize..4,
    ) {
        let keys = keys();
        let path = &key.get(&keys).path;
        let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
        let letter = letter.chars().next().unwrap_or('x');
        let wrong = misspelt(name, place, letter, edit);
        let dotted = if table.is_empty() { wrong.clone() } else { format!("{table}.{wrong}") };
        prop_assume!(!keys.iter().any(|key| key.path == dotted || key.path.starts_with(&format!("{dotted}."))));
        let message = read(&format!("{dotted}=1")).expect_err(&dotted);
        prop_assert!(message.contains(&format!("`{wrong}`; did you mean `")), "{dotted}: {message}");
    }

    #[test]
    fn a_key_that_is_like_no_other_is_refused_with_those_there_are(
        key in any::<prop::sample::Index>(),
        wrong in "[qxz]{12}",
    ) {
        let keys = keys();
        let path = &key.get(&keys).path;
        let (dotted, sibling) = match path.rsplit_once('.') {
            Some((table, name)) => (format!("{table}.{wrong}"), name),
            None => (wrong.clone(), path.as_str()),
        };
        let message = read(&format!("{dotted}=1")).expect_err(&dotted);
        prop_assert!(message.contains(&wrong) && message.contains(sibling), "{dotted}: {message}");
    }
}

/// TOML values of types that the key does not accept.
fn wrong_values(key: &Key) -> &'static [&'static str] {
    let types = key.schema["type"].to_string();
    if types.contains("string") || types.contains("array") || choices(key).is_some() {
        &["7", "true"]
    } else if key.schema["type"].is_null() {
        // The key accepts several types.
        &[]
    } else if types.contains("boolean") {
        &["7", "\"yes\""]
    } else {
        &["\"many\"", "[1, 2]"]
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_its_key() {
    for key in keys() {
        for wrong in wrong_values(&key) {
            let assignment = format!("{}={wrong}", key.path);
            let message = read(&assignment).expect_err(&assignment);
            let named = ["objective", "loss"]
                .iter()
                .find(|table| key.path.starts_with(**table));
            let named = named.map_or(key.path.as_str(), |table| table);
            assert!(message.contains(named), "{assignment}: {message}");
        }
    }
}

/// The values of an enumeration.
fn choices(key: &Key) -> Option<&Vec<Value>> {
    let choices = key.schema["oneOf"].as_array().or(key.schema["enum"].as_array());
    choices.filter(|choices| choices.iter().all(|c| c["const"].is_string() || c.is_string()))
}

/// Another value that the key accepts, as TOML; `None` if the schema gives none.
pub(crate) fn other_value(key: &Key) -> Option<String> {
    let default = &key.schema["default"];
    if let Some(choices) = choices(key) {
        let mut names = choices
            .iter()
            .filter_map(|choice| choice["const"].as_str().or(choice.as_str()))
            .filter(|name| Some(*name) != default.as_str());
        return names.next_back().map(|name| format!("\"{name}\""));
    }
    match (key.schema["type"].to_string().as_str(), default) {
        ("\"boolean\"", Value::Bool(value)) => Some((!value).to_string()),
        ("\"integer\"", Value::Number(value)) => Some((value.as_u64()? + 3).to_string()),
        ("\"number\"", Value::Number(value)) => {
            let value = value.as_f64()?;
            Some(if value == 0.0 { 0.5 } else { value * 0.5 }.to_string())
        }
        _ => None,
    }
}

/// Every key that has a value, including defaults.
fn resolved(recipe: &Recipe) -> BTreeMap<String, Value> {
    let mut leaves = dotted::flatten(&json!(recipe));
    leaves.retain(|_, value| !value.is_null());
    leaves
}

#[test]
fn every_value_that_is_set_is_resolved_and_reads_back() {
    let base = parse("r.toml", SMALL, &[]).unwrap();
    let mut set = 0;
    for key in keys().iter().filter(|key| key.path != "format-version") {
        let Some(value) = other_value(key) else { continue };
        let assignment = format!("{}={value}", key.path);
        let Ok(recipe) = read(&assignment) else {
            // The value needs another key, such as `loss.start-until` without `loss.start`.
            continue;
        };
        set += 1;
        assert!(resolved(&recipe).contains_key(&key.path), "{assignment}");
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(
            parse("resolved", &text, &[]).unwrap(),
            recipe,
            "{assignment}:\n{text}"
        );
        // Setting the differences in the first recipe must give the second.
        let assignments: Vec<String> = difference(&base, &recipe)
            .into_iter()
            .filter_map(|difference| Some(format!("{}={}", difference.key, difference.right?)))
            .collect();
        assert!(!assignments.is_empty(), "{assignment} changes nothing");
        assert_eq!(
            parse("r.toml", SMALL, &assignments).unwrap(),
            recipe,
            "{assignments:?}"
        );
    }
    assert!(set > 20, "{set} keys were set");
}

#[test]
fn every_key_is_described_and_has_its_default() {
    for Key { path, schema } in keys() {
        let described = schema["description"].as_str().is_some_and(|text| text.len() > 8);
        assert!(described, "{path} has no description: {schema}");
    }
    let resolved = resolved(&Recipe::default());
    for path in resolved.keys() {
        assert!(
            keys().iter().any(|key| key.path == *path),
            "{path} is not in the schema"
        );
    }
}
