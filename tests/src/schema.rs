//! Whether JSON is as a JSON Schema says, as far as the schemas of cadft go.

use serde_json::{Map, Value};

/// Keywords that say nothing about a value, or that are looked at with another.
const SILENT: [&str; 10] = [
    "$schema",
    "title",
    "description",
    "default",
    "format",
    "minimum",
    "required",
    "maxItems",
    "minItems",
    "propertyNames",
];

/// What is wrong with a value, with its place. A key that the schema does not name is wrong, too: no reader could expect it.
///
/// # Panics
/// If the schema has a keyword that is not looked at: it must not pass for one that holds.
#[must_use]
pub fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = vec![];
    check(schema, value, "", &mut found);
    if let Value::Object(object) = value {
        unknown(schema, object, "", &mut found);
    }
    found
}

fn check(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Value::Object(keywords) = schema else {
        let any = schema.as_bool();
        let any = any.unwrap_or_else(|| panic!("{place}: `{schema}` is not a schema"));
        expect(any, place, "the schema has no such key", found);
        return;
    };
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "type" => of_type(wanted, value, place, found),
            "const" => expect(value == wanted, place, &format!("{value} is not {wanted}"), found),
            "enum" => expect(
                list(wanted).contains(value),
                place,
                &format!("{value} is none of {wanted}"),
                found,
            ),
            "anyOf" | "oneOf" => {
                let fits = list(wanted).iter().any(|one| fits(one, value));
                expect(
                    fits,
                    place,
                    &format!("{value} fits none of the alternatives"),
                    found,
                );
            }
            "properties" => keys(schema, value, place, found),
            "additionalProperties" => {
                let others = value.as_object().into_iter().flatten();
                for (key, value) in others.filter(|(key, _)| is_other(schema, key)) {
                    within(wanted, value, &format!("{place}/{key}"), found);
                }
            }
            "items" => items(schema, value, place, found),
            "maximum" => expect(
                value.as_f64().is_none_or(|value| Some(value) <= wanted.as_f64()),
                place,
                &format!("{value} is above {wanted}"),
                found,
            ),
            "patternProperties" => {
                for (pattern, wanted) in wanted.as_object().into_iter().flatten() {
                    let keys = value.as_object().into_iter().flatten();
                    for (key, value) in keys.filter(|(key, _)| matches(pattern, key)) {
                        within(wanted, value, &format!("{place}/{key}"), found);
                    }
                }
            }
            keyword => assert!(SILENT.contains(&keyword), "{place}: `{keyword}` is not looked at"),
        }
    }
}

/// Whether neither a property nor a pattern of the schema has this key.
fn is_other(schema: &Value, key: &str) -> bool {
    let mut patterns = schema["patternProperties"].as_object().into_iter().flatten();
    schema["properties"].get(key).is_none() && !patterns.any(|(pattern, _)| matches(pattern, key))
}

/// Whether a key has a pattern: that of whole numbers, the only one that is made.
///
/// # Panics
/// If it is another pattern.
fn matches(pattern: &str, key: &str) -> bool {
    assert_eq!(pattern, r"^\d+$", "a pattern that is not known here");
    key.chars().all(|character| character.is_ascii_digit())
}

/// Whether a value is as a schema says, with no key that it does not name.
fn fits(schema: &Value, value: &Value) -> bool {
    let mut found = vec![];
    check(schema, value, "", &mut found);
    found.is_empty()
}

/// As [`check`], of a value that is a whole object if it is one.
fn within(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    check(schema, value, place, found);
    if let Value::Object(object) = value {
        unknown(schema, object, place, found);
    }
}

fn keys(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Value::Object(object) = value else { return };
    for key in list(&schema["required"]) {
        let key = key.as_str().expect("a name");
        expect(
            object.contains_key(key),
            place,
            &format!("`{key}` is missing"),
            found,
        );
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = object.get(key) {
            within(schema, value, &format!("{place}/{key}"), found);
        }
    }
}

fn items(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Value::Array(values) = value else { return };
    for (name, is_wrong) in [
        ("minItems", std::cmp::Ordering::Less),
        ("maxItems", std::cmp::Ordering::Greater),
    ] {
        let bound = schema[name]
            .as_u64()
            .and_then(|bound| usize::try_from(bound).ok());
        let holds = bound.is_none_or(|bound| values.len().cmp(&bound) != is_wrong);
        expect(
            holds,
            place,
            &format!("{} items, against `{name}`", values.len()),
            found,
        );
    }
    for (index, value) in values.iter().enumerate() {
        within(&schema["items"], value, &format!("{place}/{index}"), found);
    }
}

/// Keys that neither the schema nor an alternative that the object fits names.
fn unknown(schema: &Value, object: &Map<String, Value>, place: &str, found: &mut Vec<String>) {
    // A schema of anything has no type.
    let is_free = ["type", "properties", "anyOf", "oneOf"]
        .iter()
        .all(|keyword| schema.get(*keyword).is_none());
    if is_free || schema.get("additionalProperties").is_some() {
        return;
    }
    for key in object.keys().filter(|key| !names(schema, object, key)) {
        found.push(format!("{place}: `{key}` is not in the schema"));
    }
}

fn names(schema: &Value, object: &Map<String, Value>, key: &str) -> bool {
    let whole = Value::Object(object.clone());
    let alternatives = ["anyOf", "oneOf"]
        .into_iter()
        .flat_map(|name| list(&schema[name]));
    schema["properties"].get(key).is_some()
        || schema == &Value::Bool(true)
        || alternatives
            .filter(|one| fits(one, &whole))
            .any(|one| names(one, object, key))
}

fn of_type(wanted: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        name => panic!("{place}: no type {name:?}"),
    };
    let fits = match wanted {
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    };
    expect(fits, place, &format!("{value} is no {wanted}"), found);
}

fn expect(holds: bool, place: &str, message: &str, found: &mut Vec<String>) {
    if !holds {
        found.push(format!("{place}: {message}"));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_as_the_schema_says_is_found() {
        let schema = json!({
            "type": "object",
            "required": ["a", "list"],
            "properties": {
                "a": {"type": ["integer", "null"]},
                "list": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
                "map": {"type": "object", "additionalProperties": {"type": "number"}},
            },
            "oneOf": [
                {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "x"}}},
                {"type": "object", "required": ["kind", "more"],
                    "properties": {"kind": {"const": "y"}, "more": {"type": "boolean"}}},
            ],
        });
        for good in [
            json!({"a": 1, "list": ["b"], "kind": "x"}),
            json!({"a": null, "list": [], "kind": "y", "more": true, "map": {"any": 0.5}}),
        ] {
            assert_eq!(problems(&schema, &good), [""; 0], "{good}");
        }
        for (bad, part) in [
            (json!({"list": [], "kind": "x"}), "`a` is missing"),
            (json!({"a": 1.5, "list": [], "kind": "x"}), "1.5 is no"),
            (json!({"a": 1, "list": [1], "kind": "x"}), "/list/0: 1 is no"),
            (
                json!({"a": 1, "list": ["", "", ""], "kind": "x"}),
                "against `maxItems`",
            ),
            (json!({"a": 1, "list": [], "kind": "z"}), "fits none"),
            (
                json!({"a": 1, "list": [], "kind": "x", "more": true}),
                "`more` is not in the schema",
            ),
            (
                json!({"a": 1, "list": [], "kind": "x", "map": {"any": ""}}),
                "/map/any",
            ),
            (json!([]), "is no \"object\""),
        ] {
            let found = problems(&schema, &bad).join("\n");
            assert!(found.contains(part), "{bad}: {found}");
        }
    }
}
