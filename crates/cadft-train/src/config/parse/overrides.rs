//! What the command line changes of a recipe, and which of its changes a problem comes from.

use super::{names, set};
use crate::error::ConfigProblem;
use toml::{Table, Value};

/// Keys of which a recipe has one: to set the one takes the other away.
const EXCLUSIVE: [[&str; 2]; 2] = [
    ["schedule.epochs", "schedule.steps"],
    ["schedule.steps", "schedule.epochs"],
];

/// The key of an assignment.
fn key(assignment: &str) -> &str {
    assignment
        .split_once('=')
        .map_or(assignment, |(key, _)| key)
        .trim()
}

/// Merges `KEY=VALUE` assignments into a recipe, the last one last; what is wrong with their form.
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
            });
        }
    }
    problems
}

/// The assignment that a problem with `wrong` comes from: the last one that sets it, something above it, or something in
/// it.
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
