//! Adapters against PEFT (`python/tiny_adapters.py`): logits, loss, every gradient by name, ten optimizer steps, and the
//! files themselves.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use cadft_core::linear_log_probs;
use cadft_model::adapter::{self, ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterSave};
use cadft_model::{AdapterConfig, CausalLm, ModelConfig, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, F32, Tolerance, devices, fixture};
use cadft_train::clip::{clip, global_norm};
use cadft_train::config::OptimizerSection;
use cadft_train::optimizer::AdamW;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// Adapters and the checkpoints they belong to.
const ADAPTERS: [(&str, &str); 3] = [
    ("tiny-lora", "tiny-llama-tied"),
    ("tiny-rslora", "tiny-llama-untied"),
    ("tiny-dora", "tiny-llama-tied"),
];

/// After ten steps f32 rounding has been through ten updates, each divided by the root of a second moment.
const TEN_STEPS: Tolerance = Tolerance {
    relative: 2e-5,
    absolute: 2e-6,
};

struct Case {
    name: &'static str,
    base: &'static str,
    model: CausalLm,
    config: ModelConfig,
    adapter: AdapterConfig,
    expected: Arrays,
    ids: Tensor<2, Int>,
}

fn for_every_adapter(check: impl Fn(Case)) {
    for (_, device) in devices() {
        for (name, base) in ADAPTERS {
            check(case(name, base, &device.clone().autodiff()));
        }
    }
}

fn case(name: &'static str, base: &'static str, device: &Device) -> Case {
    let loaded = checkpoint::load(&fixture(base), device).expect("the checkpoint loads");
    let (model, adapter) =
        adapter::load(&fixture(name), loaded.model, &loaded.config).expect("the adapter loads");
    let expected = Arrays::read(&format!("{name}/expected.safetensors"));
    let ids = expected.ids::<2>("input_ids", device);
    Case {
        name,
        base,
        model,
        config: loaded.config,
        adapter,
        expected,
        ids,
    }
}

/// Mean negative log-likelihood of every next token.
fn loss(model: &CausalLm, ids: &Tensor<2, Int>) -> Tensor<1> {
    let [batch, seq] = ids.dims();
    let hidden = model.hidden_states(ids.clone()).slice_dim(1, 0..seq - 1);
    let [_, _, size] = hidden.dims();
    let tokens = batch * (seq - 1);
    let targets = ids.clone().slice_dim(1, 1..seq).reshape([tokens]);
    linear_log_probs(hidden.reshape([tokens, size]), model.output_weight(), targets)
        .mean()
        .neg()
}

/// Collects by name the tensors that are trained, or the gradients that there are.
struct ByName<'a> {
    names: BTreeMap<ParamId, String>,
    grads: Option<&'a GradientsParams>,
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for ByName<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.grads {
            Some(grads) => grads.get::<D>(param.id),
            None => param.is_require_grad().then(|| param.val()),
        };
        if let Some(tensor) = tensor {
            self.found.insert(self.names[&param.id].clone(), values(tensor));
        }
    }
}

fn by_name(model: &CausalLm, grads: Option<&GradientsParams>) -> BTreeMap<String, Vec<f64>> {
    let names = model
        .named_parameters()
        .into_iter()
        .map(|p| (p.id, p.name))
        .collect();
    let mut visitor = ByName {
        names,
        grads,
        found: BTreeMap::new(),
    };
    model.visit(&mut visitor);
    visitor.found
}

fn assert_all(kind: &str, case: &str, found: &BTreeMap<String, Vec<f64>>, expected: &Arrays, by: Tolerance) {
    let wanted: Vec<&str> = expected
        .names()
        .filter_map(|name| name.strip_prefix(&format!("{kind}.")))
        .collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        wanted,
        "{case}: names of {kind}"
    );
    for name in wanted {
        by.assert_close(
            &format!("{case}: {kind}.{name}"),
            &found[name],
            expected.values(&format!("{kind}.{name}")),
        );
    }
}

#[test]
fn logits_loss_and_every_gradient_by_name_equal_peft() {
    for_every_adapter(|case| {
        let Case {
            name,
            model,
            expected,
            ids,
            ..
        } = case;
        let logits = model.logits(model.hidden_states(ids.clone()));
        F32.assert_close(
            &format!("{name}: logits"),
            &values(logits),
            expected.values("logits"),
        );
        let loss = loss(&model, &ids);
        F32.assert_close(
            &format!("{name}: loss"),
            &values(loss.clone()),
            expected.values("loss"),
        );
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        // The names are equal too: frozen weights have no gradient.
        assert_all("grad", name, &by_name(&model, Some(&grads)), &expected, F32);
    });
}

#[test]
fn ten_clipped_adamw_steps_equal_peft_and_leave_frozen_weights_alone() {
    for_every_adapter(|case| {
        let Case {
            name,
            mut model,
            expected,
            ids,
            ..
        } = case;
        let frozen = model.model.layers[0].self_attn.k_proj.weight.val();
        let section = OptimizerSection {
            lr: 1e-3,
            ..OptimizerSection::default()
        };
        let mut optimizer = AdamW::new(&section, &model);
        let (mut losses, mut norms) = (vec![], vec![]);
        for _ in 0..10 {
            let loss = loss(&model, &ids);
            losses.push(values(loss.clone())[0]);
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            let norm = global_norm(&model, &grads);
            norms.push(norm);
            let grads = clip(&model, grads, norm, section.clip);
            model = optimizer.step(section.lr, model, grads);
        }
        TEN_STEPS.assert_close(&format!("{name}: losses"), &losses, expected.values("losses"));
        TEN_STEPS.assert_close(&format!("{name}: norms"), &norms, expected.values("grad_norms"));
        assert_all("trained", name, &by_name(&model, None), &expected, TEN_STEPS);
        let after = model.model.layers[0].self_attn.k_proj.weight.val();
        assert_eq!(values(after), values(frozen), "{name}: a frozen weight moved");
    });
}

#[test]
fn merged_logits_equal_peft_and_tied_weights_stay_tied() {
    for_every_adapter(|case| {
        let Case {
            name,
            model,
            config,
            expected,
            ids,
            ..
        } = case;
        let merged = model.valid().merge_adapter();
        assert!(!merged.has_adapter());
        assert_eq!(
            merged.lm_head.is_none(),
            config.tie_word_embeddings,
            "{name}: ties"
        );
        let logits = merged.logits(merged.hidden_states(ids.inner()));
        F32.assert_close(
            &format!("{name}: merged"),
            &values(logits),
            expected.values("logits"),
        );
    });
}

#[test]
fn an_adapter_is_written_as_peft_writes_it() {
    for_every_adapter(|case| {
        let out = tempfile::tempdir().expect("a temporary directory");
        let directory = out.path().join("adapter");
        let parts = AdapterSave {
            adapter: &case.adapter,
            config: &case.config,
            base_model: case.base,
            carry_from: None,
        };
        adapter::save(&directory, &case.model.valid(), &parts).expect("it is saved");
        let read = |directory: &std::path::Path, file| fs::read(directory.join(file)).expect("a file");
        assert_eq!(
            read(&directory, ADAPTER_WEIGHTS),
            read(&fixture(case.name), ADAPTER_WEIGHTS),
            "{}: the weights are the same bytes",
            case.name
        );
        let json = |directory| -> serde_json::Map<String, Value> {
            serde_json::from_slice(&read(directory, ADAPTER_CONFIG)).expect("JSON")
        };
        let (ours, theirs) = (json(&directory), json(&fixture(case.name)));
        for (key, value) in &ours {
            // PEFT lists a saved embedding under both its names, and layers of `all-linear` one by one.
            if key != "modules_to_save" && key != "target_modules" {
                assert_eq!(theirs.get(key), Some(value), "{}: `{key}`", case.name);
            }
        }
    });
}
