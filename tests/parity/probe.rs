//! Gradients of single samples against those of `PyTorch` in f64 (`python/probe_golden.py`).

use crate::probe_cases::{Set, for_every_model};
use cadft_core::{AnyObjective, Normalisation};
use cadft_step::{Coordinates, Probe, probe};
use cadft_tests::{F32, F32_CANCELLING, Tolerance};
use serde_json::Value;
use std::num::NonZeroUsize;

fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().expect("a number");
    match value {
        Value::Array(values) => values.iter().map(number).collect(),
        value => vec![number(value)],
    }
}

fn check(place: &str, probe: &Probe, expected: &Value, tolerance: Tolerance) {
    let of_samples = |value: fn(&cadft_step::ProbedSample) -> f64| probe.samples.iter().map(value).collect();
    for (key, found) in [
        ("weights", of_samples(|sample| sample.weight)),
        ("squared_norms", of_samples(|sample| sample.squared_norm)),
        ("mean_gates", of_samples(|sample| sample.mean_gate)),
        ("second_moment", vec![probe.second_moment()]),
        ("unweighted_second_moment", vec![probe.unweighted_second_moment()]),
        ("mean_norm", vec![probe.mean_norm()]),
        ("signal_to_noise", vec![probe.signal_to_noise()]),
        ("effective_sample_size", vec![probe.effective_sample_size()]),
    ] {
        tolerance.assert_close(&format!("{place}: {key}"), &found, &numbers(&expected[key]));
    }
}

#[test]
fn gradients_of_single_samples_equal_pytorch_in_f64() {
    for_every_model(|case| {
        for (label, expected) in case.expected {
            let objective: AnyObjective =
                serde_json::from_value(case.objectives[label].clone()).expect("a known objective");
            for (name, expected) in expected.as_object().expect("normalisations") {
                let normalisation: Normalisation =
                    serde_json::from_value(Value::String(name.clone())).expect("a known normalisation");
                let found = |set: &Set| {
                    probe(
                        &case.model,
                        &set.samples,
                        &set.scores,
                        &objective,
                        normalisation,
                        Coordinates::All,
                    )
                };
                let (noisy, clean) = (found(&case.noisy), found(&case.clean));
                let place = format!("{} {label} {name}", case.name);
                check(&format!("{place} noisy"), &noisy, &expected["noisy"], F32);
                check(&format!("{place} clean"), &clean, &expected["clean"], F32);
                F32_CANCELLING.assert_close(&place, &[noisy.cosine(&clean)], &numbers(&expected["cosine"]));
            }
        }
    });
}

#[test]
fn a_sketch_is_within_five_percent() {
    for_every_model(|case| {
        for objective in ["nll", "dft", "cadft"] {
            let objective = AnyObjective::from_name(objective).expect("a member");
            let found = |set: &Set, coordinates| {
                let normalisation = Normalisation::TokenMean;
                probe(
                    &case.model,
                    &set.samples,
                    &set.scores,
                    &objective,
                    normalisation,
                    coordinates,
                )
            };
            for seed in 0..3 {
                let size = NonZeroUsize::new(8192).expect("not 0");
                let sketch = Coordinates::Sketch { size, seed };
                let (exact, near) = (found(&case.noisy, Coordinates::All), found(&case.noisy, sketch));
                let place = format!("{} {} seed {seed}", case.name, objective.name());
                for (what, found, exact) in [
                    ("second moment", near.second_moment(), exact.second_moment()),
                    ("norm of the mean", near.mean_norm(), exact.mean_norm()),
                    ("signal to noise", near.signal_to_noise(), exact.signal_to_noise()),
                ] {
                    assert!(
                        (found / exact - 1.0).abs() < 0.05,
                        "{place}: {what} {found}, {exact}"
                    );
                }
                let exact = exact.cosine(&found(&case.clean, Coordinates::All));
                let near = near.cosine(&found(&case.clean, sketch));
                assert!((near - exact).abs() < 0.05, "{place}: cosine {near}, {exact}");
            }
        }
    });
}

/// The probe of a global batch agrees with a step on it.
#[test]
fn the_mean_is_the_gradient_of_a_step() {
    use burn::tensor::Device;
    use cadft_core::RunningMoments;
    use cadft_step::{GlobalBatch, MicroBatching, StepSettings, step::backward};
    for_every_model(|case| {
        for name in ["nll", "cadft", "talr"] {
            let objective = AnyObjective::from_name(name).expect("a member");
            let samples: Vec<_> = case.noisy.samples.iter().collect();
            let device: Device = case.model.device();
            let batch = GlobalBatch::new(&samples, &MicroBatching::rows(4), &device);
            let settings = StepSettings {
                objective: &objective,
                reference: None,
                normalisation: Normalisation::SampleMean,
                lr: 0.0,
                clip: 1.0,
            };
            let outcome = backward(&case.model, &batch, &settings, &RunningMoments::new(0.9)).outcome;
            let found = probe(
                &case.model,
                &case.noisy.samples,
                &case.noisy.scores,
                &objective,
                Normalisation::SampleMean,
                Coordinates::All,
            );
            F32.assert_close(name, &[found.mean_norm()], &[outcome.grad_norm]);
        }
    });
}
