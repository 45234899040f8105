//! Tests that every key of a recipe is compared. The keys are taken from the schema, so none can be forgotten.

use super::*;
use crate::config::parse;
use crate::config::properties::{GATES, Key, keys, other_value};
use cadft_core::{AnyObjective, Gate, Objective};
use serde_json::json;

/// A recipe with all optional tables.
const WHOLE: &str = "
    [model]
    path = 'm'
    [adapter]
    [data]
    train = ['t.jsonl']
    eval = ['e.jsonl']
    [reference]
    live = true
    [rewrite]
    [loss]
    start = 'nll'
    [evaluate]
    answers = 2
    temperature = 0.7
";

fn read(assignments: &[String]) -> Recipe {
    parse("r.toml", WHOLE, assignments).unwrap_or_else(|error| panic!("{assignments:?}: {error}"))
}

/// The changes that a run with recipe `now` finds in a checkpoint of recipe `then`.
fn found(then: &Recipe, now: &Recipe) -> Vec<Change> {
    // As a checkpoint file stores them.
    let written = settings(then).to_string();
    let mut found = Comparison::default();
    settings_differ(&serde_json::from_str(&written).unwrap(), now, &mut found);
    assert_eq!(found.unknown, Vec::<String>::new());
    found.changes
}

/// Another value for keys whose schema gives none, and the settings that it requires.
const VALUES: [(&str, &str, &[&str]); 32] = [
    ("reference.live", "false", &[]),
    ("rewrite.guided", "true", &["rewrite.same-answer=true"]),
    ("rewrite.hint", "'It is {solution}.'", &[]),
    ("reference.model", "'other'", &[]),
    ("batch.shards", "4", &[]),
    ("batch.zero-stage", "2", &["model.recompute=blocks"]),
    ("objective.cadft.gate", "'nll'", &["objective=cadft"]),
    ("objective.kl-sft.gate", "'dft'", &["objective=kl-sft"]),
    ("objective.talr.temperature", "2.0", &["objective=talr"]),
    ("model.path", "'other'", &[]),
    ("data.train", "['other.jsonl']", &[]),
    ("data.eval", "['other.jsonl']", &[]),
    (
        "data.stopping-strategy",
        "'all-exhausted'",
        &["data.train=[{path='t.jsonl',weight=1.0}]"],
    ),
    ("data.mask", "'completion'", &[]),
    ("data.template", "'chatml'", &[]),
    ("data.cache", "'off'", &[]),
    ("data.template-variables", "{enable_thinking=false}", &[]),
    ("batch.max-tokens", "64", &[]),
    ("loss.start-until", "0.25", &[]),
    ("optimizer.betas", "[0.8, 0.95]", &[]),
    ("optimizer.scale-parameter", "true", &["optimizer.kind=adafactor"]),
    ("optimizer.momentum", "0.9", &["optimizer.kind=muon"]),
    ("optimizer.adjust-lr", "'original'", &["optimizer.kind=muon"]),
    ("schedule.epochs", "2.0", &[]),
    ("schedule.steps", "9", &[]),
    ("run.out", "'elsewhere'", &[]),
    ("adapter.base", "'nf4'", &["adapter.rank=8"]),
    ("adapter.target-modules", "['q_proj']", &[]),
    ("adapter.path", "'other'", &["adapter={path='a'}"]),
    ("adapter.modules-to-save", "['embed_tokens']", &[]),
    ("loss.start", "'dft'", &[]),
    ("evaluate.extractor", "'boxed'", &[]),
];

/// The key of the token gate that `path` is below, and the rest of the path.
fn below_gate(path: &str) -> Option<(&'static str, &str)> {
    let below = |gate: &&'static str| Some((*gate, path.strip_prefix(*gate)?.strip_prefix('.')?));
    GATES.iter().find_map(below)
}

/// Assignments that prepare a recipe, and the one that changes the key.
fn other(key: &Key) -> (Vec<String>, String) {
    let path = key.path.as_str();
    if let Some((_, value, before)) = VALUES.iter().find(|(known, ..)| *known == path) {
        let before = before.iter().map(ToString::to_string);
        return (before.collect(), format!("{path}={value}"));
    }
    if let Some((owner, member)) = below_gate(path) {
        let (name, setting) = member.split_once('.').unwrap_or((member, ""));
        let other = Gate::NAMES.iter().find(|other| **other != name).unwrap();
        let objective = owner.split('.').nth(1).unwrap();
        let before = |gate: &str| vec![format!("objective={objective}"), format!("{owner}={gate}")];
        let value = other_value(key);
        return match value.filter(|_| !setting.is_empty()) {
            None => (before(other), format!("{owner}={name}")),
            Some(value) => (before(name), format!("{path}={value}")),
        };
    }
    if let Some(name) = path.strip_prefix("objective.").filter(|rest| !rest.contains('.')) {
        // For a member without settings, the changed value is the objective itself.
        return (vec![], format!("objective={name}"));
    }
    let value = other_value(key).unwrap_or_else(|| panic!("`{path}` is new: name another value of it"));
    // The objective's table must exist before one of its settings is changed.
    let parts: Vec<&str> = path.split('.').collect();
    let before = match parts[..] {
        ["objective", name, _] => vec![format!("objective={name}")],
        _ => vec![],
    };
    (before, format!("{path}={value}"))
}

#[test]
fn every_key_of_a_recipe_is_compared_or_is_free_for_a_reason() {
    // It accepts no other value.
    let mut free = vec!["format-version".to_owned()];
    for key in keys().iter().filter(|key| key.path != "format-version") {
        let path = key.path.as_str();
        let (before, assignment) = other(key);
        let then = read(&before);
        let now = read(&[&before[..], std::slice::from_ref(&assignment)].concat());
        assert_ne!(then, now, "{assignment} changes nothing");
        let changes = found(&then, &now);
        if FREE.iter().any(|(known, _)| *known == path) {
            assert_eq!(changes, [], "{assignment}");
            free.push(path.to_owned());
            continue;
        }
        assert!(!changes.is_empty(), "{assignment} is not noticed");
        let (set, _) = assignment.split_once('=').unwrap();
        // A gate with default settings is serialised as its name.
        let set = below_gate(set).map_or(set, |(owner, _)| owner);
        for change in changes {
            assert!(is_below(&change.key, set), "{assignment}: {change}");
        }
    }
    for (key, reason) in FREE {
        assert!(free.iter().any(|free| free == key), "there is no key `{key}`");
        assert!(reason.len() > 8, "{key}");
    }
}

#[test]
fn every_objective_is_told_from_every_other_one() {
    for key in CHOICES {
        // What looks at tokens under a frozen model cannot be the first of two objectives.
        let may_start = |name: &&&str| AnyObjective::from_name(name).unwrap().token_reference().is_none();
        let names: Vec<_> = (AnyObjective::NAMES.iter())
            .filter(|name| key != "loss.start" || may_start(name))
            .collect();
        for then in &names {
            for now in &names {
                let [before, after] = [then, now].map(|name| read(&[format!("{key}={name}")]));
                let change = [Change::new(key, **then, **now)];
                let expected = if then == now { &[] } else { &change[..] };
                assert_eq!(found(&before, &after), expected, "{key}");
            }
        }
    }
}

#[test]
fn tables_that_appear_or_disappear_are_noticed() {
    let whole = read(&[]);
    let mut without = whole.clone();
    without.adapter = None;
    without.rewrite = None;
    without.loss.start = None;
    for (then, now) in [(&whole, &without), (&without, &whole)] {
        let changes = found(then, now);
        for table in ["adapter", "rewrite", "loss.start"] {
            let is_noticed = changes.iter().any(|change| is_below(&change.key, table));
            assert!(is_noticed, "{table}: {changes:?}");
        }
    }
}

#[test]
fn values_are_shown_as_they_are_written() {
    let then = read(&["schedule.steps=20".to_owned(), "optimizer.lr=5e-5".to_owned()]);
    let now = read(&["optimizer.lr=1.0".to_owned()]);
    let shown: Vec<String> = found(&then, &now).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "`optimizer.lr`: was `0.00005`, is `1.0`",
            "`schedule.steps`: was `20`, is absent"
        ]
    );
}

/// A checkpoint of a release with fewer keys: their values are the present defaults.
#[test]
fn keys_that_an_older_release_did_not_know_have_their_defaults() {
    let now = read(&[]);
    let mut written = settings(&now);
    dotted::take(&mut written, "data.truncation");
    dotted::take(&mut written, "model.tf32");
    let mut found = Comparison::default();
    settings_differ(&written, &now, &mut found);
    assert_eq!(found, Comparison::default());
    settings_differ(&written, &read(&["model.tf32=false".to_owned()]), &mut found);
    assert_eq!(found.changes, [Change::new("model.tf32", true, false)]);
}

#[test]
fn a_checkpoint_of_an_older_release_says_what_it_cannot_tell() {
    let now = read(&["checkpoint.best=accuracy".to_owned()]);
    let mut written = settings(&now);
    dotted::take(&mut written, "checkpoint");
    let mut found = Comparison::default();
    settings_differ(&written, &now, &mut found);
    assert_eq!(found.changes, []);
    assert!(found.warning().unwrap().message.contains("`checkpoint.best`"));
}

#[test]
fn one_directory_may_be_written_in_several_ways() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("base");
    fs::create_dir(&real).unwrap();
    let real = real.to_str().unwrap();
    let round = format!("{real}/../base/");
    for (was, is, same) in [
        ("base", "./base", true),
        ("base", "base/", true),
        (real, round.as_str(), true),
        ("base", "other", false),
    ] {
        let mut recipe = Recipe::default();
        recipe.model.path = is.to_owned();
        let mut found = Comparison::default();
        path_differs(was, &recipe, &mut found);
        assert_eq!(found.changes.is_empty(), same, "{was} and {is}");
    }
}

fn inputs(digests: &[(&str, &str)], config: &Value) -> Inputs {
    let digests = digests.iter();
    Inputs {
        config: config.as_object().cloned().unwrap_or_default(),
        digests: digests
            .map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned()))
            .collect(),
        commit: None,
    }
}

#[test]
fn what_a_run_reads_is_compared_by_name() {
    let config = json!({
        "model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "transformers_version": "4",
    });
    let was = inputs(&[("weights", "a"), ("tokenizer", "b")], &config);
    let mut found = Comparison::default();
    inputs_differ(&was, &was, &mut found);
    let mut edited = config;
    edited["transformers_version"] = "5".into();
    inputs_differ(
        &was,
        &inputs(&[("weights", "a"), ("tokenizer", "b")], &edited),
        &mut found,
    );
    assert_eq!(
        found,
        Comparison::default(),
        "what is not computed with may differ"
    );

    edited["rms_norm_eps"] = 1e-6.into();
    let is = inputs(&[("weights", "c"), ("stop tokens", "2")], &edited);
    inputs_differ(&was, &is, &mut found);
    let keys: Vec<&str> = found.changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "model.path (SHA-256 of the weights)",
            "model.path (tokenizer)",
            "config.json: rms_norm_eps",
            "config.json: transformers_version"
        ]
    );
    assert_eq!(found.unknown, ["model.path (stop tokens)"]);
}

/// Half of the gradient of NLL, with a given name.
#[derive(Debug)]
struct Called(&'static str);

impl cadft_core::Objective for Called {
    fn name(&self) -> &str {
        self.0
    }

    fn token_gates(&self, stats: &cadft_core::TokenStats) -> burn::tensor::Tensor<1> {
        stats.log_probs.full_like(0.5)
    }
}

#[test]
fn an_objective_of_ones_own_is_told_by_its_name_alone() {
    let own = |name: &'static str| read(&[]).with_objective(Box::new(Called(name))).unwrap();
    assert_eq!(found(&own("half"), &own("half")), []);
    assert_eq!(
        found(&own("half"), &own("other")),
        [Change::new("objective", "half", "other")]
    );
    let named = read(&["objective=dft".to_owned()]);
    assert_eq!(
        found(&own("half"), &named),
        [Change::new("objective", "half", "dft")]
    );
    assert_eq!(
        found(&named, &own("half")),
        [Change::new("objective", "dft", "half")]
    );
    // All other settings are still compared, with defaults for missing keys.
    let mut other = own("half");
    other.optimizer.lr = 0.5;
    let mut written = settings(&own("half"));
    dotted::take(&mut written, "model.tf32");
    let mut found = Comparison::default();
    settings_differ(&written, &other, &mut found);
    let keys: Vec<&str> = found.changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["optimizer.lr"]);
}
