//! Fills the settings of a checkpoint with defaults for keys that its release did not have.

use crate::config::{Recipe, is_member};
use crate::dotted;
use serde_json::Value;

/// The settings `was`, with defaults for missing keys; `None` if they then equal those of `now`.
pub(super) fn completed(was: &Value, now: &Recipe) -> Option<Value> {
    let objective = &was["objective"];
    // A custom objective cannot be deserialised; only its name can be compared.
    let own = objective.as_object().and_then(|table| table.keys().next());
    let is_own = own.is_some_and(|name| !is_member(name));
    let mut readable = was.clone();
    if is_own {
        dotted::take(&mut readable, "objective");
    }
    let Ok(mut then) = serde_json::from_value::<Recipe>(readable) else {
        return Some(was.clone());
    };
    if is_own && own.map(String::as_str) == Some(now.objective.name()) {
        then.objective = now.objective.clone();
    } else if is_own {
        let mut completed = serde_json::to_value(then).ok()?;
        dotted::put(&mut completed, "objective", objective.clone());
        return Some(completed);
    }
    (then != *now).then(|| serde_json::to_value(then).unwrap_or_else(|_| was.clone()))
}
