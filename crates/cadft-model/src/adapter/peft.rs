//! `adapter_config.json`, as PEFT reads and writes it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{AdapterConfig, AdapterKind, AdapterScaling, AdapterTargets, TargetModules, Tying};
use crate::checkpoint::ADAPTER_CONFIG;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::file::read_object;
use crate::json::show;
use crate::shown::cut;

mod base;
mod keys;
mod select;

pub use base::BaseModel;
pub use keys::WITHOUT_EFFECT;
pub(super) use select::{Names, Selection};

/// The PEFT version whose keys are written.
const PEFT_VERSION: &str = "0.21.2";

/// The largest rank that is accepted; no matrix has a larger one.
const MAX_RANK: u64 = 1 << 26;

/// The content of `adapter_config.json`.
#[derive(Clone, Debug)]
pub(super) struct PeftConfig {
    /// The settings, with names as in the file.
    pub(super) adapter: AdapterConfig,
    /// Which layers and modules of a model the names select.
    pub(super) selection: Selection,
    pub(super) base_model: Option<BaseModel>,
}

/// Reads `adapter_config.json`.
pub(super) fn read_peft(directory: &Path) -> Result<PeftConfig, ModelError> {
    let path = directory.join(ADAPTER_CONFIG);
    let object = read_object(&path)?;
    parse(&object).map_err(|problems| ModelError::Adapter {
        path,
        problems,
        bases: None,
    })
}

/// Parses the object. Every missing, malformed or unsupported key becomes a problem.
pub(super) fn parse(object: &Map<String, Value>) -> Result<PeftConfig, Vec<String>> {
    let mut problems = unsupported(object);
    let mut flag = |key: &str| match object.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(other) => {
            problems.push(format!(
                "`{key}`: `{}` is neither `true` nor `false`",
                show(other)
            ));
            false
        }
    };
    let (is_dora, is_by_root, ties) = (flag("use_dora"), flag("use_rslora"), flag("ensure_weight_tying"));
    let rank = object.get("r").and_then(Value::as_u64);
    let rank = rank.filter(|rank| (1..=MAX_RANK).contains(rank));
    if rank.is_none() {
        problems.push(expected(object, "r", "a positive integer"));
    }
    let alpha = object.get("lora_alpha").and_then(sensible);
    if alpha.is_none() {
        problems.push(expected(object, "lora_alpha", "a number"));
    }
    let dropout = match object.get("lora_dropout") {
        None | Some(Value::Null) => Some(0.0),
        Some(value) => value.as_f64().filter(|dropout| (0.0..1.0).contains(dropout)),
    };
    if dropout.is_none() {
        problems.push(expected(object, "lora_dropout", "a probability below 1"));
    }
    let modules_to_save = strings(object, "modules_to_save", &mut problems);
    let selection = Selection::read(object, &mut problems);
    let target_modules = match &selection.targets {
        Names::List(names) => TargetModules::Names(names.clone()),
        _ => TargetModules::AllLinear,
    };
    if !problems.is_empty() {
        problems.dedup();
        return Err(problems);
    }
    let adapter = AdapterConfig {
        kind: if is_dora {
            AdapterKind::Dora
        } else {
            AdapterKind::Lora
        },
        rank: rank.unwrap_or(1) as usize,
        alpha: alpha.unwrap_or(1.0),
        scaling: AdapterScaling::from(is_by_root),
        dropout: dropout.unwrap_or(0.0),
        target_modules,
        modules_to_save,
        tying: if ties { Tying::Together } else { Tying::Apart },
        ..AdapterConfig::default()
    };
    let text = |key| set(object, key).and_then(Value::as_str).map(str::to_owned);
    Ok(PeftConfig {
        adapter,
        selection,
        base_model: text("base_model_name_or_path").map(|name| BaseModel {
            name,
            revision: text("revision"),
        }),
    })
}

fn expected(object: &Map<String, Value>, key: &str, what: &str) -> String {
    match object.get(key) {
        None => format!("`{key}` is missing"),
        Some(value) => format!("`{key}`: `{}` is not {what}", show(value)),
    }
}

/// A number in the plausible range of a setting: 0, or of magnitude 1e-30 to 1e15.
fn sensible(value: &Value) -> Option<f64> {
    let is_sensible = |number: &f64| *number == 0.0 || (1e-30..=1e15).contains(&number.abs());
    value.as_f64().filter(is_sensible)
}

/// Every key with an unsupported effect on how the adapter is applied.
fn unsupported(object: &Map<String, Value>) -> Vec<String> {
    let mut problems = vec![];
    if object.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        let found = show(object.get("peft_type").unwrap_or(&Value::Null));
        problems.push(format!("`peft_type`: `{found}` is not supported; only `LORA` is"));
    }
    if let Some(task) = set(object, "task_type").filter(|task| *task != "CAUSAL_LM") {
        problems.push(format!("`task_type`: `{}` is not `CAUSAL_LM`", show(task)));
    }
    if let Some(bias) = set(object, "bias").filter(|bias| *bias != "none") {
        problems.push(format!(
            "`bias`: `{}` is not supported; only `none` is",
            show(bias)
        ));
    }
    match object.get("init_lora_weights") {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(Value::String(start)) if keys::PLAIN_STARTS.contains(&start.as_str()) => {}
        Some(start) => problems.push(format!(
            "`init_lora_weights`: `{}` changes the weights of the base when training begins; save the adapter as a plain one \
             with PEFT's `save_pretrained(…, path_initial_model_for_weight_conversion=…)`",
            show(start)
        )),
    }
    let is_known = |key: &str| {
        keys::READ.contains(&key) || keys::WITHOUT_EFFECT.iter().any(|(without, _)| *without == key)
    };
    for (key, value) in object.iter().filter(|(key, _)| !is_known(key)) {
        // An empty object enables a feature with its defaults.
        if !is_unset(value) || value.is_object() {
            problems.push(format!("`{}`: `{}` is not supported", cut(key), show(value)));
        }
    }
    problems
}

/// The value of a key, unless it means that the feature is unused.
fn set<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !is_unset(value))
}

/// Whether a value is what PEFT writes for an unused feature.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(array) => array.is_empty(),
        _ => false,
    }
}

fn strings(object: &Map<String, Value>, key: &str, problems: &mut Vec<String>) -> Vec<String> {
    match object.get(key) {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(names))
            if names
                .iter()
                .all(|name| name.as_str().is_some_and(|name| !name.is_empty())) =>
        {
            names
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect()
        }
        Some(other) => {
            problems.push(format!("`{key}`: `{}` is not a list of names", show(other)));
            vec![]
        }
    }
}

/// The object that PEFT would write for the adapter, with keys sorted as PEFT sorts them.
pub(super) fn to_json(
    config: &AdapterConfig,
    targets: &AdapterTargets,
    base: &BaseModel,
    model: &ModelConfig,
) -> Value {
    let target_modules = match &config.target_modules {
        TargetModules::Names(names) => names.clone(),
        TargetModules::AllLinear => {
            let mut names: Vec<String> = targets
                .layers
                .iter()
                .filter_map(|(layer, _)| Some(layer.rsplit('.').next()?.to_owned()))
                .collect();
            names.sort_unstable();
            names.dedup();
            names
        }
    };
    let modules_to_save = match &targets.saved[..] {
        [] => Value::Null,
        saved => json!(saved),
    };
    let ties = model.tie_word_embeddings && targets.saved.iter().any(|name| name == "model.embed_tokens");
    let alpha = if config.alpha.fract() == 0.0 && config.alpha.abs() < 1e15 {
        json!(config.alpha as i64)
    } else {
        json!(config.alpha)
    };
    json!({
        "alora_invocation_tokens": null,
        "alpha_pattern": config.alpha_pattern,
        "arrow_config": null,
        "auto_mapping": null,
        "base_model_name_or_path": base.name,
        "bias": "none",
        "corda_config": null,
        "ensure_weight_tying": ties,
        "eva_config": null,
        "exclude_modules": null,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "loftq_config": {},
        "lora_alpha": alpha,
        "lora_bias": false,
        "lora_dropout": config.dropout,
        "megatron_config": null,
        "megatron_core": "megatron.core",
        "modules_to_save": modules_to_save,
        "peft_type": "LORA",
        "peft_version": PEFT_VERSION,
        "qalora_group_size": 16,
        "r": config.rank,
        "rank_pattern": config.rank_pattern,
        "revision": base.revision,
        "target_modules": target_modules,
        "target_parameters": model.experts.as_ref().map(|_| json!([])),
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": null,
        "use_dora": config.kind == AdapterKind::Dora,
        "use_qalora": false,
        "use_rslora": bool::from(config.scaling),
    })
}
