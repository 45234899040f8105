//! Finds the layers and modules of a model that an `adapter_config.json` names, by the rules of PEFT.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::peft::{Names, PeftConfig, Selection, read_peft};
use super::targets::{EMBEDDING, OUTPUT, beside_experts, is_end, no_update};
use super::{ADAPTER_CONFIG, AdapterConfig, AdapterKind, TargetModules, Tying};
use crate::config::ModelConfig;
use crate::error::{Bases, ModelError};
use crate::parameters::{expected_parameters, is_embedding, is_mixed, is_of_experts};

/// The settings of an adapter's file, applied to a model.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The settings, in which every name is the full name of a layer or module.
    pub(super) adapter: AdapterConfig,
    /// The model's configuration with the adapter, which may untie the output weight.
    pub(super) config: ModelConfig,
    /// The embedding and the output weight, if they have a low-rank update.
    pub(super) ends: Vec<&'static str>,
}

/// Resolves the adapter of a PEFT directory for further training on a model of `config`. Returns the settings, and the
/// configuration of the model with the adapter, which may untie the output weight.
///
/// # Errors
/// If `adapter_config.json` cannot be read or uses an unsupported feature, or if the embedding or the output weight has
/// a low-rank update: that is merged on loading and cannot be trained further.
pub fn resolve(directory: &Path, config: &ModelConfig) -> Result<(AdapterConfig, ModelConfig), ModelError> {
    let resolved = resolved(directory, config, |resolved| match &resolved.ends[..] {
        [] => Ok(resolved),
        ends => Err(vec![format!(
            "`target_modules`: a low-rank update of `{}` cannot be trained on",
            ends.join("` and `")
        )]),
    })?;
    Ok((resolved.adapter, resolved.config))
}

/// The modules that an adapter holds whole, by their full names.
///
/// # Errors
/// As [`resolve`], for an adapter that is only read: the output weight and the embedding may have an update.
pub fn saved_modules(directory: &Path, config: &ModelConfig) -> Result<Vec<String>, ModelError> {
    Ok(resolved(directory, config, Ok)?.adapter.modules_to_save)
}

fn resolved(
    directory: &Path,
    config: &ModelConfig,
    check: impl FnOnce(Resolved) -> Result<Resolved, Vec<String>>,
) -> Result<Resolved, ModelError> {
    let peft = read_peft(directory)?;
    let bases = peft.bases();
    (peft.resolve(config).and_then(check)).map_err(|problems| ModelError::Adapter {
        path: directory.join(ADAPTER_CONFIG),
        problems,
        bases,
    })
}

impl PeftConfig {
    /// The model that the file names, for errors.
    pub(super) fn bases(&self) -> Option<Box<Bases>> {
        let named = self.base_model.as_ref()?.name.clone();
        Some(Box::new(Bases { named, given: None }))
    }

    /// Finds the file's layers and modules in a model.
    pub(super) fn resolve(self, config: &ModelConfig) -> Result<Resolved, Vec<String>> {
        let parameters = expected_parameters(config);
        let mut problems = vec![];
        let mut adapter = self.adapter;
        let modules = modules(&parameters);
        let targeted: Vec<&str> = modules
            .iter()
            .map(String::as_str)
            .filter(|module| self.selection.has_update(module))
            .collect();
        let linear = linear(&parameters);
        let beside_experts = beside_experts(&parameters);
        let (closed, targeted): (Vec<&str>, Vec<&str>) =
            targeted.into_iter().partition(|module| beside_experts(module));
        if let Some(module) = closed.first() {
            problems.push(format!("`target_modules`: {}", no_update(module)));
        }
        let (layers, others): (Vec<&str>, Vec<&str>) =
            targeted.into_iter().partition(|module| linear.contains(module));
        let (ends, wrong): (Vec<&str>, Vec<&str>) = others
            .into_iter()
            .partition(|module| [OUTPUT, EMBEDDING].contains(module));
        for module in wrong {
            problems.push(format!("`target_modules`: `{module}` is not a linear layer"));
        }
        if layers.is_empty() && ends.is_empty() {
            problems.push("`target_modules` names no layer of the model".to_owned());
        }
        adapter.modules_to_save = saved(&adapter.modules_to_save, &modules, &parameters, &mut problems);
        (adapter.rank_pattern, adapter.alpha_pattern) = patterns(&self.selection, layers.iter().chain(&ends));
        let is_end_changed = !ends.is_empty()
            || adapter
                .modules_to_save
                .iter()
                .any(|name| [OUTPUT, EMBEDDING].contains(&name.as_str()));
        let mut config = config.clone();
        if config.tie_word_embeddings && is_end_changed {
            match adapter.tying {
                Tying::Apart => config = config.untied(),
                Tying::Together if !ends.is_empty() => problems.push(format!(
                    "`ensure_weight_tying`: a low-rank update of `{}` that is tied is not supported",
                    ends.join("` and `")
                )),
                Tying::Together => {}
            }
        }
        if adapter.kind == AdapterKind::Dora && ends.contains(&EMBEDDING) {
            problems.push(format!(
                "`use_dora`: an update of `{EMBEDDING}` with magnitudes is not supported"
            ));
        }
        if !means(&self.selection, &layers, &linear) {
            let names = layers.iter().map(|&layer| layer.to_owned()).collect();
            adapter.target_modules = TargetModules::Names(names);
        }
        let ends = [EMBEDDING, OUTPUT]
            .into_iter()
            .filter(|end| ends.contains(end))
            .collect();
        if problems.is_empty() {
            Ok(Resolved {
                adapter,
                config,
                ends,
            })
        } else {
            Err(problems)
        }
    }
}

/// Whether the plain list of names selects these layers in this model too.
fn means(selection: &Selection, layers: &[&str], linear: &BTreeSet<&str>) -> bool {
    let Names::List(names) = &selection.targets else {
        return false;
    };
    let found: BTreeSet<&str> = (linear.iter().copied())
        .filter(|layer| names.iter().any(|name| is_end(layer, name)))
        .collect();
    let every_name_is_one = (names.iter()).all(|name| linear.iter().any(|layer| is_end(layer, name)));
    every_name_is_one && found == layers.iter().copied().collect()
}

/// Ranks and numerators by the full names of layers.
fn patterns<'a>(
    selection: &Selection,
    layers: impl Iterator<Item = &'a &'a str>,
) -> (BTreeMap<String, usize>, BTreeMap<String, f64>) {
    let (mut ranks, mut alphas) = (BTreeMap::new(), BTreeMap::new());
    for &layer in layers {
        ranks.extend(selection.rank(layer).map(|rank| (layer.to_owned(), rank)));
        alphas.extend(selection.alpha(layer).map(|alpha| (layer.to_owned(), alpha)));
    }
    (ranks, alphas)
}

/// The modules of a model, including those that contain others. The output weight is included even if it is tied.
fn modules(parameters: &[(String, Vec<usize>)]) -> Vec<String> {
    let mut modules = vec![];
    let mut seen = BTreeSet::new();
    let names = parameters
        .iter()
        .map(|(name, _)| name.as_str())
        .chain([OUTPUT_WEIGHT]);
    for name in names {
        for (end, _) in name.match_indices('.') {
            if seen.insert(&name[..end]) {
                modules.push(name[..end].to_owned());
            }
        }
    }
    modules
}

const OUTPUT_WEIGHT: &str = "lm_head.weight";

/// The linear layers of the blocks.
fn linear(parameters: &[(String, Vec<usize>)]) -> BTreeSet<&str> {
    let beside_experts = beside_experts(parameters);
    (parameters.iter())
        .filter(|(_, shape)| shape.len() == 2)
        .filter_map(|(name, _)| name.strip_suffix(".weight"))
        .filter(|module| *module != OUTPUT && !is_embedding(module) && !beside_experts(module))
        .collect()
}

/// The modules with parameters that `modules_to_save` selects. PEFT compares the end of a module's name, even in the
/// middle of a word, and saves everything inside the module.
fn saved(
    names: &[String],
    modules: &[String],
    parameters: &[(String, Vec<usize>)],
    problems: &mut Vec<String>,
) -> Vec<String> {
    let owners: BTreeSet<&str> = (parameters.iter())
        .filter_map(|(name, _)| Some(name.rsplit_once('.')?.0))
        .chain([OUTPUT])
        .collect();
    let mut saved = BTreeSet::new();
    for module in modules {
        if !names.iter().any(|name| module.ends_with(name.as_str())) {
            continue;
        }
        let is_around_experts =
            || (owners.iter()).any(|owner| is_of_experts(owner) && owner.starts_with(&format!("{module}.")));
        if is_of_experts(module) || is_around_experts() {
            problems.push(format!(
                "`modules_to_save`: `{module}` holds experts; they cannot be saved alone"
            ));
        } else if owners.contains(module.as_str()) && !is_mixed(module) {
            saved.insert(module.as_str());
        } else if module.ends_with(".self_attn")
            || module.ends_with(".mlp")
            || module.ends_with(".shared_mlp")
        {
            let inside = |owner: &&str| {
                owner
                    .strip_prefix(module.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            saved.extend(owners.iter().copied().filter(inside));
        } else {
            problems.push(format!(
                "`modules_to_save`: `{module}` as a whole is not supported"
            ));
        }
    }
    let in_order = modules.iter().filter(|module| saved.contains(module.as_str()));
    in_order.cloned().collect()
}
