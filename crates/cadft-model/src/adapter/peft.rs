//! `adapter_config.json`, as PEFT reads and writes it.

use serde_json::{Map, Value, json};

use super::{AdapterConfig, AdapterKind, AdapterScaling, AdapterTargets, BaseModel, TargetModules};

/// The PEFT version whose keys are written.
const PEFT_VERSION: &str = "0.21.2";

/// Keys that change nothing about how a saved adapter is applied.
const IGNORED: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Keys that select layers: the names of the stored tensors say which.
const SELECTING: [&str; 3] = ["exclude_modules", "layers_pattern", "layers_to_transform"];

/// An adapter as `adapter_config.json` has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PeftConfig {
    pub(super) adapter: AdapterConfig,
    /// Whether `target_modules` alone says which layers have an update.
    pub(super) is_complete: bool,
    pub(super) base_model: Option<BaseModel>,
}

/// Keys that are read.
const READ: [&str; 10] = [
    "bias",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// Reads the object; every key that is missing, malformed or not supported is a problem.
pub(super) fn parse(object: &Map<String, Value>) -> Result<PeftConfig, Vec<String>> {
    let mut problems = unsupported(object);
    let rank = object.get("r").and_then(Value::as_u64).filter(|&rank| rank > 0);
    if rank.is_none() {
        problems.push("`r` is not a positive integer".to_owned());
    }
    let alpha = object.get("lora_alpha").and_then(Value::as_f64);
    if alpha.is_none() {
        problems.push("`lora_alpha` is not a number".to_owned());
    }
    let target_modules = match object.get("target_modules") {
        Some(Value::Array(_)) => TargetModules::Names(strings(object, "target_modules", &mut problems)),
        _ => TargetModules::AllLinear,
    };
    let selects = SELECTING.iter().any(|key| set(object, key).is_some());
    let is_complete = target_modules != TargetModules::AllLinear && !selects;
    let flag = |key| set(object, key) == Some(&Value::Bool(true));
    let adapter = AdapterConfig {
        kind: if flag("use_dora") {
            AdapterKind::Dora
        } else {
            AdapterKind::Lora
        },
        rank: rank.unwrap_or(1) as usize,
        alpha: alpha.unwrap_or(1.0),
        scaling: if flag("use_rslora") {
            AdapterScaling::RootRank
        } else {
            AdapterScaling::Rank
        },
        dropout: set(object, "lora_dropout").and_then(Value::as_f64).unwrap_or(0.0),
        target_modules,
        modules_to_save: strings(object, "modules_to_save", &mut problems),
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let text = |key| set(object, key).and_then(Value::as_str).map(str::to_owned);
    Ok(PeftConfig {
        adapter,
        is_complete,
        base_model: text("base_model_name_or_path").map(|name| BaseModel {
            name,
            revision: text("revision"),
        }),
    })
}

/// Everything in the object that would change how the adapter is applied and is not supported.
fn unsupported(object: &Map<String, Value>) -> Vec<String> {
    let mut problems = vec![];
    if object.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        let found = object.get("peft_type").unwrap_or(&Value::Null);
        problems.push(format!("`peft_type`: `{found}` is not supported; only `LORA` is"));
    }
    if let Some(task) = set(object, "task_type").filter(|task| *task != "CAUSAL_LM") {
        problems.push(format!("`task_type`: `{task}` is not `CAUSAL_LM`"));
    }
    if let Some(bias) = set(object, "bias").filter(|bias| *bias != "none") {
        problems.push(format!("`bias`: `{bias}` is not supported; only `none` is"));
    }
    let is_known = |key: &str| IGNORED.contains(&key) || SELECTING.contains(&key) || READ.contains(&key);
    for (key, value) in object.iter().filter(|(key, _)| !is_known(key)) {
        if !is_unset(value) {
            problems.push(format!("`{key}`: `{value}` is not supported"));
        }
    }
    problems
}

/// The value of a key that is used.
fn set<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !is_unset(value))
}

/// Whether a value is what PEFT writes for a feature that is not used.
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
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        Some(other) => {
            problems.push(format!("`{key}`: `{other}` is not a list of names"));
            vec![]
        }
    }
}

/// The object PEFT would write for the adapter, keys sorted as it sorts them.
pub(super) fn to_json(
    config: &AdapterConfig,
    targets: &AdapterTargets,
    base: &BaseModel,
    tied: bool,
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
    let ties = tied && targets.saved.iter().any(|name| name == "model.embed_tokens");
    let alpha = if config.alpha.fract() == 0.0 && config.alpha.abs() < 1e15 {
        json!(config.alpha as i64)
    } else {
        json!(config.alpha)
    };
    json!({
        "alora_invocation_tokens": null,
        "alpha_pattern": {},
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
        "rank_pattern": {},
        "revision": base.revision,
        "target_modules": target_modules,
        "target_parameters": null,
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": null,
        "use_dora": config.kind == AdapterKind::Dora,
        "use_qalora": false,
        "use_rslora": config.scaling == AdapterScaling::RootRank,
    })
}
