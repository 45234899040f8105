//! Merges overrides into a recipe, and finds the override that caused a problem.

use super::names;
use crate::error::ConfigProblem;
use toml::{Table, Value};

/// Mutually exclusive keys: setting the first removes the second.
const EXCLUSIVE: [[&str; 2]; 2] = [
    ["schedule.epochs", "schedule.steps"],
    ["schedule.steps", "schedule.epochs"],
];

/// The keys of token gates. A value is a name, or a table with one key, the name.
const GATES: [[&str; 3]; 2] = [["objective", "cadft", "gate"], ["objective", "kl-sft", "gate"]];

/// Sets one dotted key of a table, from `KEY=VALUE`. A value that is not valid TOML by itself is taken as a string.
///
/// # Errors
/// If the assignment has no `=`.
pub fn set(table: &mut Table, assignment: &str) -> Result<(), String> {
    let (path, value) = assignment
        .split_once('=')
        .ok_or("an override has the form KEY=VALUE")?;
    let value = value.trim();
    let value = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut place = table;
    for (depth, key) in keys.iter().enumerate() {
        // `objective.cadft.beta=2` replaces `objective = "dft"` and any other member's table.
        // So does `objective.cadft.gate.power.alpha=0.3` with another gate.
        let is_choice = keys[..depth] == ["objective"] || GATES.iter().any(|gate| keys[..depth] == *gate);
        if is_choice {
            place.retain(|member, _| *member == **key);
        }
        let entry = place
            .entry((*key).to_owned())
            .or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        place = entry.as_table_mut().ok_or("not a table")?;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

/// The key of an assignment.
fn key(assignment: &str) -> &str {
    assignment
        .split_once('=')
        .map_or(assignment, |(key, _)| key)
        .trim()
}

/// Merges `KEY=VALUE` assignments into a recipe, in order. Returns the problems of their syntax.
pub(super) fn merge(table: &mut Table, overrides: &[String]) -> Vec<ConfigProblem> {
    let sets = |wanted: &str| overrides.iter().any(|assignment| key(assignment) == wanted);
    for [given, other] in EXCLUSIVE {
        if sets(given) && !sets(other) {
            remove(table, other);
        }
    }
    let mut problems = vec![];
    for assignment in overrides {
        if let Err(message) = set(table, assignment) {
            let path = names::suggested(assignment);
            let example = path.map_or_else(String::new, |path| format!(", as in `{path}=…`"));
            problems.push(ConfigProblem {
                line: None,
                set: Some(assignment.clone()),
                key: String::new(),
                message: message + &example,
                hint: None,
            });
        }
    }
    problems
}

/// The assignment that caused a problem with the key `wrong`: the last one that sets this key, a table that contains
/// it, or a key below it.
pub(super) fn to_blame<'a>(overrides: &'a [String], wrong: &str) -> Option<&'a String> {
    let is_below = |key: &str, of: &str| key.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'));
    overrides.iter().rev().find(|assignment| {
        let set = key(assignment);
        set == wrong || is_below(wrong, set) || is_below(set, wrong)
    })
}

fn remove(table: &mut Table, path: &str) {
    let Some((section, key)) = path.split_once('.') else {
        return;
    };
    if let Some(Value::Table(section)) = table.get_mut(section) {
        section.remove(key);
    }
}
