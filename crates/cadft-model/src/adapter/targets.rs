//! Which layers an adapter updates, and which modules it trains and stores in full.

use std::collections::BTreeSet;

use super::{AdapterConfig, AdapterKind, TargetModules};
use crate::config::ModelConfig;
use crate::decoder::{CausalLm, Linear};
use crate::parameters::{expected_parameters, is_embedding, is_mixed, is_of_experts};

pub(super) const OUTPUT: &str = "lm_head";
pub(super) const EMBEDDING: &str = "model.embed_tokens";

/// The layers and modules of an adapter in a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterTargets {
    /// Names of the linear layers with an update, with shapes `[output, input]`, in module order.
    pub layers: Vec<(String, [usize; 2])>,
    /// Names of the modules that are trained and stored in full, in module order.
    pub saved: Vec<String>,
    /// Number of trained parameters.
    pub trainable: usize,
}

impl AdapterConfig {
    /// Finds the adapter's layers and modules in a model.
    ///
    /// # Errors
    /// Every name that matches nothing or cannot be used.
    pub fn targets(&self, config: &ModelConfig) -> Result<AdapterTargets, Vec<String>> {
        let parameters = expected_parameters(config);
        let mut problems = vec![];
        let layers = self.layers(&parameters, &mut problems);
        self.targets_of(config, layers, problems)
    }

    /// Like [`Self::targets`], for an adapter that updates only the embedding and the output weight.
    pub(super) fn targets_without_updates(
        &self,
        config: &ModelConfig,
    ) -> Result<AdapterTargets, Vec<String>> {
        self.targets_of(config, vec![], vec![])
    }

    fn targets_of(
        &self,
        config: &ModelConfig,
        layers: Vec<(String, [usize; 2])>,
        mut problems: Vec<String>,
    ) -> Result<AdapterTargets, Vec<String>> {
        let parameters = expected_parameters(config);
        let saved = self.saved(&parameters, config.tie_word_embeddings, &mut problems);
        for name in &saved {
            if layers.iter().any(|(layer, _)| layer == name) {
                problems.push(format!("`{name}` is a target and a module to save"));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let updates = layers.iter().map(|(layer, [output, input])| {
            let magnitudes = if self.kind == AdapterKind::Dora {
                *output
            } else {
                0
            };
            self.rank_of(layer) * (output + input) + magnitudes
        });
        let whole = parameters
            .iter()
            .filter(|(name, _)| saved.iter().any(|module| is_parameter_of(name, module)))
            .map(|(_, shape)| shape.iter().product::<usize>());
        let trainable = updates.chain(whole).sum();
        Ok(AdapterTargets {
            layers,
            saved,
            trainable,
        })
    }

    fn layers(
        &self,
        parameters: &[(String, Vec<usize>)],
        problems: &mut Vec<String>,
    ) -> Vec<(String, [usize; 2])> {
        let matrices = parameters.iter().filter_map(|(name, shape)| {
            let module = name.strip_suffix(".weight")?;
            let &[output, input] = shape.as_slice() else {
                return None;
            };
            (module != OUTPUT && !is_embedding(module)).then_some((module, [output, input]))
        });
        let beside_experts = beside_experts(parameters);
        let (closed, linear): (Vec<_>, Vec<_>) = matrices.partition(|(module, _)| beside_experts(module));
        let owned = |(name, shape): &(&str, [usize; 2])| ((*name).to_owned(), *shape);
        let TargetModules::Names(names) = &self.target_modules else {
            return linear.iter().map(owned).collect();
        };
        if names.is_empty() {
            problems.push("no target modules are named".to_owned());
        }
        for name in names {
            let mut modules = parameters
                .iter()
                .filter_map(|(parameter, _)| parameter.strip_suffix(".weight"));
            if is_end(OUTPUT, name) || modules.any(|module| is_embedding(module) && is_end(module, name)) {
                problems.push(format!(
                    "`{name}` cannot have a low-rank update; train it whole as a module to save"
                ));
            } else if closed.iter().any(|(layer, _)| is_end(layer, name)) {
                problems.push(no_update(name));
            } else if !linear.iter().any(|(layer, _)| is_end(layer, name)) {
                let known: BTreeSet<_> = linear.iter().map(|(layer, _)| last(layer)).collect();
                let known: Vec<_> = known.into_iter().collect();
                problems.push(format!(
                    "no linear layer is called `{name}`; there are {}",
                    known.join(", ")
                ));
            }
        }
        linear
            .iter()
            .filter(|(layer, _)| names.iter().any(|name| is_end(layer, name)))
            .map(owned)
            .collect()
    }

    /// The modules of `modules_to_save`; a tied output weight counts as the embedding.
    fn saved(
        &self,
        parameters: &[(String, Vec<usize>)],
        tied: bool,
        problems: &mut Vec<String>,
    ) -> Vec<String> {
        let modules: Vec<&str> = parameters
            .iter()
            .filter_map(|(name, _)| Some(name.rsplit_once('.')?.0))
            .filter(|module| !is_mixed(module))
            .collect();
        let names: Vec<&str> = self
            .modules_to_save
            .iter()
            .map(|name| {
                if tied && is_end(OUTPUT, name) {
                    EMBEDDING
                } else {
                    name
                }
            })
            .collect();
        for name in &names {
            if !modules.iter().any(|module| is_end(module, name)) {
                let known: BTreeSet<_> = modules.iter().map(|module| last(module)).collect();
                let known: Vec<_> = known.into_iter().collect();
                problems.push(format!(
                    "no module is called `{name}`; there are {}",
                    known.join(", ")
                ));
            }
        }
        for name in &names {
            let of_experts = |module: &&&str| is_of_experts(module) && is_end(module, name);
            if modules.iter().any(|module| of_experts(&module)) {
                problems.push(format!(
                    "`{name}` is a projection of experts; transformers has no such module to save"
                ));
            }
        }
        let mut saved: Vec<String> = modules
            .into_iter()
            .filter(|module| names.iter().any(|name| is_end(module, name)))
            .map(str::to_owned)
            .collect();
        saved.dedup();
        saved
    }
}

/// Whether a module is in a feed-forward block of a model with experts. There is no low-rank update there: PEFT gives
/// all experts of a block one update of another form, and takes the names of dense blocks for those of experts.
pub(super) fn beside_experts(parameters: &[(String, Vec<usize>)]) -> impl Fn(&str) -> bool + use<> {
    let has_experts = parameters.iter().any(|(name, _)| is_of_experts(name));
    move |module: &str| has_experts && module.contains(".mlp.")
}

/// The problem with a name that selects such a module.
pub(super) fn no_update(name: &str) -> String {
    format!(
        "`{name}` selects the feed-forward blocks of a model with experts, which cannot have a low-rank update; name layers of \
         attention, such as `q_proj`"
    )
}

/// Whether `layer` equals `name` or ends with a dot and `name`.
pub(super) fn is_end(layer: &str, name: &str) -> bool {
    layer == name || layer.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether the parameter belongs directly to the module.
pub(super) fn is_parameter_of(parameter: &str, module: &str) -> bool {
    parameter
        .rsplit_once('.')
        .is_some_and(|(owner, _)| owner == module)
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The linear layers, by name; not the output weight and the routers of experts.
pub(super) fn linears_mut(model: &mut CausalLm) -> Vec<(String, &mut Linear)> {
    let mut linears = vec![];
    let of_inputs = model.model.per_layer_model_projection.as_mut();
    linears.extend(of_inputs.map(|linear| ("model.per_layer_model_projection".to_owned(), linear)));
    for (index, block) in model.model.layers.iter_mut().enumerate() {
        let named = |(part, linear)| (format!("model.layers.{index}.{part}"), linear);
        linears.extend(block.linears_mut().into_iter().map(named));
    }
    linears
}
