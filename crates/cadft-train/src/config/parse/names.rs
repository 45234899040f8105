//! The dotted keys of recipes, and their names in other programs.

use crate::config::schema;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Names in TRL, transformers, PEFT, axolotl and LLaMA-Factory, with the keys that they correspond to.
const ELSEWHERE: &[(&str, &str)] = &[
    ("assistant-only-loss", "data.mask"),
    ("base-model", "model.path"),
    ("batch-size", "batch.global"),
    ("bf16", "model.precision"),
    ("chat-template", "data.template"),
    ("cutoff-len", "data.max-length"),
    ("dataset", "data.train"),
    ("datasets", "data.train"),
    ("eval-dataset", "data.eval"),
    ("eval-steps", "evaluate.every"),
    ("fp16", "model.precision"),
    ("gradient-accumulation-steps", "batch.global"),
    ("gradient-checkpointing", "model.recompute"),
    ("learning-rate", "optimizer.lr"),
    ("lora-alpha", "adapter.alpha"),
    ("lora-dropout", "adapter.dropout"),
    ("lora-r", "adapter.rank"),
    ("lora-rank", "adapter.rank"),
    ("lora-target", "adapter.target-modules"),
    ("lora-target-modules", "adapter.target-modules"),
    ("lr-scheduler", "schedule.kind"),
    ("lr-scheduler-type", "schedule.kind"),
    ("max-grad-norm", "optimizer.clip"),
    ("max-seq-length", "data.max-length"),
    ("max-steps", "schedule.steps"),
    ("micro-batch-size", "batch.micro"),
    ("model-name-or-path", "model.path"),
    ("num-epochs", "schedule.epochs"),
    ("num-train-epochs", "schedule.epochs"),
    ("output-dir", "run.out"),
    ("per-device-train-batch-size", "batch.micro"),
    ("r", "adapter.rank"),
    ("report-to", "log.tensorboard"),
    ("sample-packing", "batch.packing"),
    ("save-steps", "checkpoint.every"),
    ("save-total-limit", "checkpoint.keep"),
    ("sequence-len", "data.max-length"),
    ("train-dataset", "data.train"),
    ("train-on-inputs", "data.mask"),
    ("use-dora", "adapter.kind"),
    ("warmup-ratio", "schedule.warmup"),
    ("warmup-steps", "schedule.warmup"),
];

/// Every dotted key.
static PATHS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut paths = BTreeSet::new();
    collect("", &schema(), &mut paths);
    paths
});

fn collect(path: &str, schema: &Value, paths: &mut BTreeSet<String>) {
    for (key, of) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        collect(&path, of, paths);
        paths.insert(path);
    }
    for key in ["anyOf", "oneOf"] {
        for of in schema[key].as_array().into_iter().flatten() {
            collect(path, of, paths);
        }
    }
}

/// The dotted key that a wrong one was probably meant to be: the only key with the same last part, or the key that
/// another program's name corresponds to.
pub(in crate::config) fn suggested(wrong: &str) -> Option<&'static str> {
    let last = wrong.rsplit('.').next().unwrap_or(wrong);
    let last = last.trim().to_lowercase().replace('_', "-");
    let ends = |path: &&String| path.rsplit('.').next() == Some(&*last) && path.contains('.');
    let mut found = PATHS.iter().filter(ends);
    match (found.next(), found.next()) {
        (Some(path), None) => Some(path),
        _ => (ELSEWHERE.iter())
            .find(|(name, _)| *name == last)
            .map(|(_, path)| *path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_suggested_exists() {
        for (name, path) in ELSEWHERE {
            assert!(PATHS.contains(*path), "{name}: {path}");
        }
        assert!(PATHS.contains("objective.cadft.beta") && PATHS.contains("adapter.rank"));
    }

    #[test]
    fn a_key_is_found_by_its_last_part_or_by_its_name_elsewhere() {
        for (wrong, right) in [
            ("lr", "optimizer.lr"),
            ("optimizer.learning_rate", "optimizer.lr"),
            ("num_train_epochs", "schedule.epochs"),
            ("max_length", "data.max-length"),
            ("batch.rank", "adapter.rank"),
        ] {
            assert_eq!(suggested(wrong), Some(right), "{wrong}");
        }
        assert_eq!(suggested("nonsense"), None);
        assert_eq!(suggested("path"), None, "there are several");
    }
}
