//! The dotted keys of recipes, and their names in other programs.

use crate::config::schema;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Names in TRL, transformers, PEFT, axolotl and LLaMA-Factory, with the keys that they correspond to.
const ELSEWHERE: &[(&str, &str)] = &[
    ("adam-beta1", "optimizer.betas"),
    ("adam-beta2", "optimizer.betas"),
    ("adam-epsilon", "optimizer.eps"),
    ("adapter-name-or-path", "adapter.path"),
    ("additional-target", "adapter.modules-to-save"),
    ("assistant-only-loss", "data.mask"),
    ("auto-find-batch-size", "guard.memory"),
    ("base-model", "model.path"),
    ("batch-flattening", "batch.packing"),
    ("batch-size", "batch.global"),
    ("bf16", "model.precision"),
    ("chat-template", "data.template"),
    ("chat-template-kwargs", "data.template-variables"),
    ("chat-template-path", "data.template"),
    ("completion-only-loss", "data.mask"),
    ("cutoff-len", "data.max-length"),
    ("dataset", "data.train"),
    ("dataset-name", "data.train"),
    ("dataset-prepared-path", "data.cache"),
    ("datasets", "data.train"),
    ("disable-shuffling", "data.order"),
    ("enable-thinking", "data.template-variables"),
    ("eval-dataset", "data.eval"),
    ("eval-steps", "evaluate.every"),
    ("eval-strategy", "evaluate.every"),
    ("excess-length-strategy", "data.truncation"),
    ("finetuning-type", "adapter.kind"),
    ("fp16", "model.precision"),
    ("gradient-accumulation-steps", "batch.global"),
    ("gradient-checkpointing", "model.recompute"),
    ("group-by-length", "batch.bucketing"),
    ("interleave-probs", "data.train"),
    ("learning-rate", "optimizer.lr"),
    ("load-best-model-at-end", "checkpoint.best"),
    ("lora-alpha", "adapter.alpha"),
    ("lora-dropout", "adapter.dropout"),
    ("lora-model-dir", "adapter.path"),
    ("lora-modules-to-save", "adapter.modules-to-save"),
    ("lora-r", "adapter.rank"),
    ("lora-rank", "adapter.rank"),
    ("lora-target", "adapter.target-modules"),
    ("lora-target-modules", "adapter.target-modules"),
    ("loss-type", "objective"),
    ("lr-scheduler", "schedule.kind"),
    ("lr-scheduler-type", "schedule.kind"),
    ("mask-history", "data.mask"),
    ("max-grad-norm", "optimizer.clip"),
    ("max-seq-length", "data.max-length"),
    ("max-steps", "schedule.steps"),
    ("metric-for-best-model", "checkpoint.best"),
    ("micro-batch-size", "batch.micro"),
    ("mix-strategy", "data.stopping-strategy"),
    ("model-name-or-path", "model.path"),
    ("neat-packing", "batch.packing"),
    ("num-epochs", "schedule.epochs"),
    ("num-train-epochs", "schedule.epochs"),
    ("optim", "optimizer.kind"),
    ("output-dir", "run.out"),
    ("padding-free", "batch.packing"),
    ("peft-use-dora", "adapter.kind"),
    ("peft-use-rslora", "adapter.rs"),
    ("per-device-train-batch-size", "batch.micro"),
    ("predict-with-generate", "evaluate.answers"),
    ("r", "adapter.rank"),
    ("report-to", "log.tensorboard"),
    ("sample-packing", "batch.packing"),
    ("save-steps", "checkpoint.every"),
    ("save-total-limit", "checkpoint.keep"),
    ("sequence-len", "data.max-length"),
    ("shuffle-merged-datasets", "data.order"),
    ("test-datasets", "data.eval"),
    ("tokenized-path", "data.cache"),
    ("train-dataset", "data.train"),
    ("train-file", "data.train"),
    ("train-from-scratch", "model.init"),
    ("train-on-inputs", "data.mask"),
    ("train-on-prompt", "data.mask"),
    ("train-on-responses-only", "data.mask"),
    ("truncation-mode", "data.truncation"),
    ("use-asft-loss", "objective"),
    ("use-dft-loss", "objective"),
    ("use-dora", "adapter.kind"),
    ("use-eaft", "objective"),
    ("use-eaft-loss", "objective"),
    ("use-gradient-checkpointing", "model.recompute"),
    ("use-muon", "optimizer.kind"),
    ("use-peft", "adapter.kind"),
    ("use-rslora", "adapter.rs"),
    ("use-tensorboard", "log.tensorboard"),
    ("warmup-ratio", "schedule.warmup"),
    ("warmup-steps", "schedule.warmup"),
];

/// What the schema says of a key.
struct Key {
    /// What it means.
    about: String,
    /// Its values, where they are names.
    choices: Vec<String>,
}

/// Every dotted key.
static PATHS: LazyLock<BTreeMap<String, Key>> = LazyLock::new(|| {
    let mut paths = BTreeMap::new();
    collect("", &schema(), &mut paths);
    paths
});

fn collect(path: &str, schema: &Value, paths: &mut BTreeMap<String, Key>) {
    for (key, of) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        collect(&path, of, paths);
        let about = of["description"].as_str().unwrap_or_default();
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut choices = vec![];
        collect_choices(of, &mut choices);
        paths.insert(path, Key { about, choices });
    }
    for key in ["anyOf", "oneOf"] {
        for of in schema[key].as_array().into_iter().flatten() {
            collect(path, of, paths);
        }
    }
}

fn collect_choices(schema: &Value, choices: &mut Vec<String>) {
    let names = schema["enum"].as_array().into_iter().flatten();
    let names = names.chain(schema.get("const")).filter_map(Value::as_str);
    choices.extend(names.map(str::to_owned));
    for key in ["anyOf", "oneOf"] {
        for of in schema[key].as_array().into_iter().flatten() {
            collect_choices(of, choices);
        }
    }
}

/// What a dotted key means.
pub(super) fn about(path: &str) -> Option<&'static str> {
    let key = PATHS.get(path)?;
    (!key.about.is_empty()).then_some(&*key.about)
}

/// The names among the values of a dotted key.
pub(super) fn choices(path: &str) -> &'static [String] {
    PATHS.get(path).map_or(&[], |key| &key.choices)
}

/// The dotted key that a wrong one was probably meant to be: the only key with the same last part, or the key that
/// another program's name corresponds to.
pub(in crate::config) fn suggested(wrong: &str) -> Option<&'static str> {
    let last = wrong.rsplit('.').next().unwrap_or(wrong);
    let last = last.trim().to_lowercase().replace('_', "-");
    let ends = |path: &&String| path.rsplit('.').next() == Some(&*last) && path.contains('.');
    let mut found = PATHS.keys().filter(ends);
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
            assert!(PATHS.contains_key(*path), "{name}: {path}");
        }
        assert!(PATHS.contains_key("objective.cadft.beta") && PATHS.contains_key("adapter.rank"));
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
