//! Shared code of the model suites: the loss, tensors by name, and ten optimizer steps.

use burn::tensor::{Int, Tensor};
use cadft_core::linear_log_probs;
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use cadft_step::clip::{clip_factor, global_norm, squares};
use cadft_step::optimizer::{Optimizer, OptimizerOptions};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, Named, Tolerance, gradients_by_name};

/// Mean negative log-likelihood of every next token.
pub(super) fn loss(model: &CausalLm, ids: &Tensor<2, Int>) -> Tensor<1> {
    let [batch, seq] = ids.dims();
    let hidden = model.hidden_states(ids.clone()).slice_dim(1, 0..seq - 1);
    let [_, _, size] = hidden.dims();
    let tokens = batch * (seq - 1);
    let targets = ids.clone().slice_dim(1, 1..seq).reshape([tokens]);
    linear_log_probs(
        hidden.reshape([tokens, size]),
        model.output_weight(),
        targets,
        model.logit_options(),
    )
    .mean()
    .neg()
}

/// The gradients that exist, by name.
pub(super) fn gradients(model: &CausalLm, loss: &Tensor<1>) -> Named {
    let grads = ParamGradients::from_grads(loss.backward(), model);
    gradients_by_name(model, &grads)
}

/// Learning rate and largest gradient norm of the ten steps.
const LR: f64 = 1e-3;
const CLIP: f64 = 1.0;

/// Does ten clipped `AdamW` steps, and compares losses and gradient norms with the fixture. Returns the model.
pub(super) fn ten_steps(
    name: &str,
    model: CausalLm,
    ids: &Tensor<2, Int>,
    expected: &Arrays,
    by: Tolerance,
) -> CausalLm {
    let (mut losses, mut norms) = (vec![], vec![]);
    let model = ten_steps_of(&OptimizerOptions::default(), model, ids, |loss, norm| {
        losses.push(loss);
        norms.push(norm);
    });
    by.assert_close(&format!("{name}: losses"), &losses, expected.values("losses"));
    by.assert_close(&format!("{name}: norms"), &norms, expected.values("grad_norms"));
    model
}

/// Does ten clipped steps, and gives the loss and the gradient norm of each to `told`. Returns the model.
pub(super) fn ten_steps_of(
    options: &OptimizerOptions,
    mut model: CausalLm,
    ids: &Tensor<2, Int>,
    mut told: impl FnMut(f64, f64),
) -> CausalLm {
    let mut optimizer = Optimizer::new(options);
    for _ in 0..10 {
        let loss = loss(&model, ids);
        let grads = ParamGradients::from_grads(loss.backward(), &model);
        told(values(loss.clone())[0], global_norm(&model, &grads));
        let squares = squares(&model, &grads).expect("gradients");
        let factor = clip_factor(squares, loss.inner(), CLIP);
        model = optimizer.step(LR, model, grads, factor);
    }
    model
}

/// Asserts that `found` equals the fixture's arrays `kind.*`: the same names, and close values.
pub(super) fn assert_all(kind: &str, model: &str, found: &Named, expected: &Arrays, by: Tolerance) {
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
