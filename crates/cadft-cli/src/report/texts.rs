//! The texts of a run's samples, read again from its training data.

use super::run::Run;
use crate::row_texts::{RowText, row_texts};
use cadft_train::Recipe;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Texts by the ids of samples.
pub(super) type Texts = HashMap<String, RowText>;

/// The texts of the samples with these ids; empty if the data are no longer where they were.
pub(super) fn of(run: &Run, ids: &HashSet<&str>) -> Texts {
    let recipe = run.resolved.clone().map(serde_json::from_value::<Recipe>);
    match recipe {
        Some(Ok(recipe)) => row_texts(&recipe.data.train, &recipe.mixing(), ids),
        // The recipe is of another release, or has an objective of another program.
        _ => run
            .resolved
            .as_ref()
            .map_or_else(Texts::new, |recipe| from_data(recipe, ids)),
    }
}

/// As [`of`], if only `[data]` of the recipe can be parsed.
fn from_data(recipe: &Value, ids: &HashSet<&str>) -> Texts {
    let only = serde_json::json!({"data": recipe["data"], "run": recipe["run"]});
    serde_json::from_value::<Recipe>(only).map_or_else(
        |_| Texts::new(),
        |recipe| row_texts(&recipe.data.train, &recipe.mixing(), ids),
    )
}
