//! A tiny model of every family by transformers: hidden states, logits, loss, every gradient by name, ten optimizer
//! steps (`python/tiny_llama.py`, `python/families.py`).

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use cadft_core::linear_log_probs;
use cadft_model::{CausalLm, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, F32, Tolerance, devices, fixture};
use cadft_train::clip::{clip, global_norm};
use cadft_train::config::OptimizerSection;
use cadft_train::optimizer::AdamW;
use std::collections::BTreeMap;

use super::MODELS;

/// After ten steps f32 rounding has been through ten updates, each divided by the root of a second moment.
const TEN_STEPS: Tolerance = Tolerance {
    relative: 2e-5,
    absolute: 2e-6,
};

fn for_every_model(check: impl Fn(&str, CausalLm, &Arrays, &Device)) {
    for (_, device) in devices() {
        let device = device.autodiff();
        for name in MODELS {
            let model = checkpoint::load(&fixture(name), &device)
                .expect("the fixture loads")
                .model;
            check(
                name,
                model,
                &Arrays::read(&format!("{name}/expected.safetensors")),
                &device,
            );
        }
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

/// Collects tensors by Hugging Face name: the parameters, or their gradients.
struct ByName<'a> {
    names: BTreeMap<ParamId, String>,
    grads: Option<&'a GradientsParams>,
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for ByName<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.grads {
            Some(grads) => grads.get::<D>(param.id).expect("every parameter has a gradient"),
            None => param.val(),
        };
        self.found.insert(self.names[&param.id].clone(), values(tensor));
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

fn assert_all(kind: &str, model: &str, found: &BTreeMap<String, Vec<f64>>, expected: &Arrays, by: Tolerance) {
    let wanted: Vec<&str> = expected
        .names()
        .filter_map(|name| name.strip_prefix(&format!("{kind}.")))
        .collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        wanted,
        "{model}: names of {kind}"
    );
    for name in wanted {
        by.assert_close(
            &format!("{model}: {kind}.{name}"),
            &found[name],
            expected.values(&format!("{kind}.{name}")),
        );
    }
}

#[test]
fn hidden_states_of_every_layer_and_logits_equal_transformers() {
    for_every_model(|name, model, expected, device| {
        let ids = expected.ids::<2>("input_ids", device);
        let states = model.all_hidden_states(ids);
        let last = states.len() - 1;
        for (index, state) in states.iter().enumerate() {
            let key = match index {
                0 => "hidden.embedding".to_owned(),
                _ if index == last => "hidden.norm".to_owned(),
                _ => format!("hidden.layers.{}", index - 1),
            };
            F32.assert_close(
                &format!("{name}: {key}"),
                &values(state.clone()),
                expected.values(&key),
            );
        }
        let logits = model.logits(states[last].clone());
        F32.assert_close(
            &format!("{name}: logits"),
            &values(logits),
            expected.values("logits"),
        );
    });
}

#[test]
fn loss_and_every_gradient_by_name_equal_transformers() {
    for_every_model(|name, model, expected, device| {
        let loss = loss(&model, &expected.ids::<2>("input_ids", device));
        F32.assert_close(
            &format!("{name}: loss"),
            &values(loss.clone()),
            expected.values("loss"),
        );
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        assert_all("grad", name, &by_name(&model, Some(&grads)), expected, F32);
    });
}

#[test]
fn ten_clipped_adamw_steps_equal_pytorch() {
    for_every_model(|name, mut model, expected, device| {
        let ids = expected.ids::<2>("input_ids", device);
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
        assert_all("trained", name, &by_name(&model, None), expected, TEN_STEPS);
    });
}
