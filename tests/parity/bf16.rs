//! bf16 products with f32 master weights against `PyTorch` (`python/tiny_bf16.py`).

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Int, Tensor};
use cadft_core::linear_log_probs;
use cadft_model::decoder::Precision;
use cadft_model::{CausalLm, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, BF16, devices, fixture};
use cadft_train::clip::{clip, global_norm};
use cadft_train::config::OptimizerSection;
use cadft_train::optimizer::AdamW;
use std::collections::BTreeMap;

fn for_every_model(check: impl Fn(&str, CausalLm, &Arrays, Tensor<2, Int>)) {
    for (_, device) in devices() {
        if !device.supports_dtype(DType::BF16) {
            continue;
        }
        let device = device.autodiff();
        for name in ["tiny-llama-tied", "tiny-llama-untied"] {
            let model = checkpoint::load(&fixture(name), &device)
                .expect("the fixture loads")
                .model;
            let expected = Arrays::read(&format!("tiny-bf16/{name}/expected.safetensors"));
            let ids = expected.ids::<2>("input_ids", &device);
            check(name, model.with_precision(Precision::Bf16), &expected, ids);
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

struct ByName<'a> {
    names: BTreeMap<ParamId, String>,
    grads: &'a GradientsParams,
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for ByName<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        assert_eq!(param.val().dtype(), DType::F32, "master weights are f32");
        let grad = self
            .grads
            .get::<D>(param.id)
            .expect("every parameter has a gradient");
        assert_eq!(grad.dtype(), DType::F32, "gradients are f32");
        self.found.insert(self.names[&param.id].clone(), values(grad));
    }
}

#[test]
fn logits_loss_and_every_gradient_by_name_equal_pytorch() {
    for_every_model(|name, model, expected, ids| {
        let logits = values(model.logits(model.hidden_states(ids.clone())));
        BF16.assert_close(&format!("{name}: logits"), &logits, expected.values("logits"));
        let in_f32 = model.clone().with_precision(Precision::F32);
        let in_f32 = values(in_f32.logits(in_f32.hidden_states(ids.clone())));
        let distance = |other: &[f64]| -> f64 {
            let errors = logits
                .iter()
                .zip(other)
                .map(|(ours, theirs)| (ours - theirs).powi(2));
            errors.sum::<f64>().sqrt()
        };
        assert!(
            distance(expected.values("logits")) < 0.5 * distance(&in_f32),
            "{name}: the logits are those of f32 rather than of bf16"
        );
        let loss = loss(&model, &ids);
        BF16.assert_close(
            &format!("{name}: loss"),
            &values(loss.clone()),
            expected.values("loss"),
        );
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let names = model.named_parameters().into_iter();
        let mut found = ByName {
            names: names.map(|parameter| (parameter.id, parameter.name)).collect(),
            grads: &grads,
            found: BTreeMap::new(),
        };
        model.visit(&mut found);
        for (weight, found) in found.found {
            let key = format!("grad.{weight}");
            BF16.assert_close(&format!("{name}: {key}"), &found, expected.values(&key));
        }
    });
}

#[test]
fn ten_clipped_adamw_steps_follow_pytorch() {
    for_every_model(|name, mut model, expected, ids| {
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
        BF16.assert_close(&format!("{name}: losses"), &losses, expected.values("losses"));
        BF16.assert_close(&format!("{name}: norms"), &norms, expected.values("grad_norms"));
    });
}
