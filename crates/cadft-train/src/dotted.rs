//! Nested tables by dotted key, such as `optimizer.lr`.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The values of nested tables by dotted key; empty if `table` is not a table. An empty inner table counts as a value:
/// `{"dft": {}}` is meaningful.
#[must_use]
pub fn flatten(table: &Value) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    if let Value::Object(table) = table {
        collect("", table, &mut leaves);
    }
    leaves
}

fn collect(prefix: &str, table: &Map<String, Value>, leaves: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Object(inner) if !inner.is_empty() => collect(&format!("{path}."), inner, leaves),
            value => {
                leaves.insert(path, value.clone());
            }
        }
    }
}

/// The keys whose values differ, sorted, with both values; `null` stands for an absent value.
#[must_use]
pub fn differences(
    left: &BTreeMap<String, Value>,
    right: &BTreeMap<String, Value>,
) -> Vec<(String, [Value; 2])> {
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    keys.into_iter()
        .map(|key| {
            let values = [left, right].map(|leaves| leaves.get(key).cloned().unwrap_or_default());
            (key.clone(), values)
        })
        .filter(|(_, [left, right])| left != right)
        .collect()
}

/// Sets the value of a dotted key, and makes missing tables on its path.
pub(crate) fn put(place: &mut Value, key: &str, value: Value) {
    let (first, rest) = key
        .split_once('.')
        .map_or((key, None), |(first, rest)| (first, Some(rest)));
    let Some(table) = place.as_object_mut() else {
        return;
    };
    match rest {
        Some(rest) => put(
            table.entry(first).or_insert_with(|| Map::new().into()),
            rest,
            value,
        ),
        None => {
            table.insert(first.to_owned(), value);
        }
    }
}

/// Removes the value of a dotted key.
pub(crate) fn take(place: &mut Value, key: &str) {
    let (parents, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut place = Some(place);
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        place = place.and_then(|table| table.get_mut(parent));
    }
    if let Some(table) = place.and_then(Value::as_object_mut) {
        table.shift_remove(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_become_dotted_keys() {
        let leaves = flatten(&json!({"a": {"b": 1, "c": {}}, "d": ["x", "y"], "e": null}));
        let expected = [
            ("a.b", json!(1)),
            ("a.c", json!({})),
            ("d", json!(["x", "y"])),
            ("e", Value::Null),
        ];
        assert_eq!(
            leaves,
            expected.map(|(key, value)| (key.to_owned(), value)).into()
        );
        for other in [json!({}), json!(7), Value::Null] {
            assert!(flatten(&other).is_empty(), "{other}");
        }
    }

    #[test]
    fn what_is_put_is_there_until_it_is_taken() {
        let mut table = json!({"a": {"b": 1}});
        put(&mut table, "a.c.d", json!(2));
        put(&mut table, "e", json!(3));
        assert_eq!(table, json!({"a": {"b": 1, "c": {"d": 2}}, "e": 3}));
        take(&mut table, "a.c.d");
        take(&mut table, "absent.key");
        take(&mut table, "e");
        assert_eq!(table, json!({"a": {"b": 1, "c": {}}}));
    }
}
