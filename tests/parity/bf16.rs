//! Products in bf16 with f32 master weights, against `PyTorch` (`python/tiny_bf16.py`).

use burn::tensor::{DType, Int, Tensor};
use cadft_model::decoder::Precision;
use cadft_model::{CausalLm, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, BF16, devices, fixture};

use super::training::{assert_all, gradients, loss, ten_steps};

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
        assert_all("grad", name, &gradients(&model, &loss), expected, BF16);
    });
}

#[test]
fn ten_clipped_adamw_steps_follow_pytorch() {
    for_every_model(|name, model, expected, ids| {
        let _ = ten_steps(name, model, &ids, expected, BF16);
    });
}
