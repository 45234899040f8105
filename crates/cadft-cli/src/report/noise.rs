//! How far a run separated planted noise from the rest, over its steps.

use super::run::Run;
use super::samples::samples_of;
use crate::noise::{Influenced, Recall};
use cadft_train::Recipe;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Of each recorded step of a run; nothing where none was planted, or the data are no longer where they were.
pub(super) fn of(run: &Run) -> Vec<(u64, Recall)> {
    let data = run.resolved.as_ref().map(|recipe| &recipe["data"]);
    let only = serde_json::json!({ "data": data });
    let recipe = serde_json::from_value::<Recipe>(only).unwrap_or_default();
    let planted = cadft_data::planted(&recipe.data.train).unwrap_or_default();
    in_records(&run.samples, &planted)
}

/// How far the objective separated planted samples from the rest, record by record; nothing where the run does not say it.
pub(super) fn in_records(
    records: &[Map<String, Value>],
    planted: &HashMap<String, Option<String>>,
) -> Vec<(u64, Recall)> {
    if planted.is_empty() {
        return vec![];
    }
    let of_record = |record: &Map<String, Value>| {
        let samples = samples_of(record).map(|seen| {
            Some(Influenced {
                influence: seen.weight * seen.gate?,
                tokens: usize::try_from(seen.supervised?).ok()?,
                is_planted: planted.get(seen.id)?.is_some(),
            })
        });
        let samples: Option<Vec<Influenced>> = samples.collect();
        Some((record.get("step")?.as_u64()?, Recall::of(&samples?)))
    };
    records.iter().filter_map(of_record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_measured_in_each_record_that_says_enough() {
        let record = |step: u64, weight: [f64; 3]| {
            let record = serde_json::json!({"step": step, "ids": ["a", "b", "c"], "nll": [1.0, 1.0, 1.0], "z": [0.0, 0.0, 0.0],
                "weight": weight, "gate": [0.5, 0.5, 1.0], "supervised": [4, 2, 9]});
            record.as_object().expect("an object").clone()
        };
        let mut old = record(9, [1.0; 3]);
        old.remove("gate");
        let records = [record(1, [1.0, 1.0, 1.0]), record(5, [0.2, 1.0, 1.0]), old];
        let planted = [("a", Some("swap")), ("b", None), ("c", None)];
        let planted = planted.map(|(id, kind)| (id.to_owned(), kind.map(str::to_owned)));
        let found = in_records(&records, &planted.into());
        let shown: Vec<_> = found
            .iter()
            .map(|(step, recall)| (*step, recall.auc, recall.recall))
            .collect();
        // At first it ties with one of two that were left alone.
        assert_eq!(shown, [(1, Some(0.75), Some(0.5)), (5, Some(1.0), Some(1.0))]);
        assert!(in_records(&records, &HashMap::new()).is_empty());
    }
}
