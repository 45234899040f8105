//! The tensors of a PEFT directory, checked against the model and the adapter's settings.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::tensor::TensorView;

use super::targets::{EMBEDDING, OUTPUT, is_parameter_of};
use super::{AdapterConfig, AdapterKind, AdapterTargets, head};
use crate::config::ModelConfig;
use crate::decoder::CausalLm;
use crate::dtype::Dtype;
use crate::parameters::expected_parameters;
use crate::shown::cut;

const EMBEDDING_WEIGHT: &str = "model.embed_tokens.weight";
const OUTPUT_WEIGHT: &str = "lm_head.weight";

/// The tensors of a file, by name without PEFT's prefix.
pub(super) struct Stored<'a> {
    pub(super) tensors: &'a BTreeMap<String, TensorView<'a>>,
}

impl Stored<'_> {
    /// The values by name, if all tensors fit exactly.
    pub(super) fn check(
        &self,
        adapter: &AdapterConfig,
        targets: &AdapterTargets,
        (config, ends): (&ModelConfig, &[&str]),
        model: &CausalLm,
    ) -> Result<BTreeMap<String, Vec<f32>>, Vec<String>> {
        let expected = expected(adapter, targets, config, ends);
        let names: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let mut problems = vec![];
        for name in self.tensors.keys().filter(|name| !names.contains(name.as_str())) {
            problems.extend(self.left_over(name, &names, config, model));
        }
        let mut values = BTreeMap::new();
        for (name, shape) in expected {
            match self.values(&name, &shape) {
                Ok(found) => {
                    values.insert(name, found);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(values)
        } else {
            Err(problems)
        }
    }

    /// The problem with a tensor that the adapter's settings do not require; `None` if it repeats known values. PEFT
    /// stores the base's embedding and output weight beside an update of them.
    fn left_over(
        &self,
        name: &str,
        names: &BTreeSet<&str>,
        config: &ModelConfig,
        model: &CausalLm,
    ) -> Option<String> {
        let plain = name.replace(".base_layer.weight", ".weight");
        let is_end = [EMBEDDING_WEIGHT, OUTPUT_WEIGHT].contains(&plain.as_str());
        if is_end && config.tie_word_embeddings && names.contains(EMBEDDING_WEIGHT) {
            let is_same = self.bytes(name) == self.bytes(EMBEDDING_WEIGHT);
            return (!is_same).then(|| {
                format!("`{name}`: differs from the embedding although `ensure_weight_tying` ties the two")
            });
        }
        if !is_end {
            return Some(format!(
                "`{}`: unused{}",
                cut(name),
                selects(name, Presence::LeftOver)
            ));
        }
        let of_model = match (&model.lm_head, plain.as_str()) {
            (Some(head), OUTPUT_WEIGHT) => head.weight.val(),
            _ => model.model.embed_tokens.weight.val(),
        };
        let [vocab, hidden] = of_model.dims();
        match self.values(name, &[vocab, hidden]) {
            Ok(stored) if of_model.to_data().iter::<f32>().eq(stored.iter().copied()) => None,
            Ok(_) => Some(format!(
                "`{name}`: differs from the base's; the adapter belongs to another model"
            )),
            Err(problem) => Some(problem),
        }
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let Some(view) = self.tensors.get(name) else {
            return Err(format!("`{name}`: missing{}", selects(name, Presence::Missing)));
        };
        if view.shape() != shape {
            let found = view.shape();
            return Err(format!("`{name}`: expected `{shape:?}`, found `{found:?}`"));
        }
        let Some(dtype) = Dtype::from_safetensors(view.dtype()) else {
            return Err(format!("`{name}`: type `{}` is not supported", view.dtype()));
        };
        let values = dtype.decode(view.data());
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(format!("`{name}`: holds NaN or infinite values"))
        }
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.tensors.get(name).map(TensorView::data)
    }
}

/// How a tensor deviates from the settings.
#[derive(Clone, Copy)]
enum Presence {
    Missing,
    LeftOver,
}

/// The keys that select a layer's update, or its magnitudes, for the message.
fn selects(name: &str, presence: Presence) -> &'static str {
    match (
        name.contains(".lora_magnitude_vector"),
        name.contains(".lora_"),
        presence,
    ) {
        (true, _, Presence::Missing) => "; `use_dora` asks for it",
        (true, ..) => "; `use_dora` or `target_modules` does not ask for it",
        (false, true, Presence::Missing) => {
            "; `target_modules`, `exclude_modules` and `layers_to_transform` ask for it"
        }
        (false, true, Presence::LeftOver) => {
            "; `target_modules`, `exclude_modules`, `layers_to_transform` or `modules_to_save` leave its layer out"
        }
        _ => "",
    }
}

/// The tensors of an adapter's file, with their shapes.
fn expected(
    adapter: &AdapterConfig,
    targets: &AdapterTargets,
    config: &ModelConfig,
    ends: &[&str],
) -> Vec<(String, Vec<usize>)> {
    let mut expected = vec![];
    let magnitude = |layer: &str, output: usize| {
        (adapter.kind == AdapterKind::Dora).then(|| (format!("{layer}.lora_magnitude_vector"), vec![output]))
    };
    for (layer, [output, input]) in &targets.layers {
        let rank = adapter.rank_of(layer);
        expected.push((format!("{layer}.lora_A.weight"), vec![rank, *input]));
        expected.push((format!("{layer}.lora_B.weight"), vec![*output, rank]));
        expected.extend(magnitude(layer, *output));
    }
    for end in ends {
        let shape = [config.vocab_size, config.hidden_size];
        expected.extend(head::expected(end, adapter.rank_of(end), shape));
        expected.extend(
            (*end == OUTPUT)
                .then(|| magnitude(end, config.vocab_size))
                .flatten(),
        );
    }
    debug_assert!(!(adapter.kind == AdapterKind::Dora && ends.contains(&EMBEDDING)));
    let whole = expected_parameters(config)
        .into_iter()
        .filter(|(name, _)| targets.saved.iter().any(|module| is_parameter_of(name, module)));
    expected.extend(whole);
    expected
}
