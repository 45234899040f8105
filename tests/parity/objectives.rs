//! Every objective, value and gradient, against `PyTorch` in f64 (`python/objectives_golden.py`).

use burn::tensor::{Device, Tensor, TensorData};
use cadft_core::reduction::{least_of_largest, median_score, sample_scores};
use cadft_core::{
    AnyObjective, ChunkSize, GlobalCounts, Normalisation, Objective, Precision, Reference, SampleStats,
    Standardiser, Statistic, TokenReference, TokenStats, anchor_loss, family_loss, linear_divergence,
    linear_log_probs_chunked, linear_mass_below, linear_statistic, naive_log_probs,
};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, F32, F32_CANCELLING, F32_LARGE, Tolerance, devices, fixture};
use serde_json::Value;
use std::fs;

/// The result of one objective on one batch with one normalisation.
struct Result {
    log_probs: Vec<f64>,
    gates: Vec<f64>,
    scores: Vec<f64>,
    z: Vec<f64>,
    weights: Vec<f64>,
    loss: f64,
    d_hidden: Vec<f64>,
    d_weight: Vec<f64>,
}

struct Case<'a> {
    arrays: &'a Arrays,
    name: &'a str,
    samples: usize,
}

impl Case<'_> {
    fn key(&self, array: &str) -> String {
        format!("{}/{array}", self.name)
    }

    fn run(
        &self,
        objective: &AnyObjective,
        normalisation: Normalisation,
        projection: (Tensor<2>, Tensor<2>),
        chunk: ChunkSize,
    ) -> Result {
        let device = projection.0.device();
        let (hidden, weight) = (projection.0.require_grad(), projection.1.require_grad());
        let sample_of = self.arrays.indices(&self.key("sample_index"));
        let data_weights = self.arrays.values(&self.key("data_weights"));
        let targets = self.arrays.ids::<1>(&self.key("targets"), &device);
        let log_probs =
            linear_log_probs_chunked(hidden.clone(), weight.clone(), targets, Precision::F32, chunk);

        let mut stats = TokenStats {
            statistic: objective.statistic().map(|statistic| {
                let (hidden, weight) = (hidden.clone().inner(), weight.clone().inner());
                linear_statistic(hidden, weight, statistic, Precision::F32)
            }),
            ..TokenStats::detached(&log_probs)
        };
        let scores_of = |log_probs: Tensor<1>| {
            let host: Vec<f32> = log_probs.into_data().iter().collect();
            sample_scores(&host, &sample_of, self.samples)
        };
        let scores = scores_of(stats.log_probs.clone());
        stats.median_score = Some(median_score(&scores));
        let before = self.before(&device);
        stats.reference = (objective.token_reference()).map(|wanted| self.frozen(wanted, before.clone()));
        if let (Some(top), Some(reference)) = (objective.top_excess(), &stats.reference) {
            let excess = (reference.clone() - stats.log_probs.clone()).into_data();
            let excess: Vec<f32> = excess.iter().collect();
            stats.least_excess = Some(least_of_largest(&excess, top));
        }
        let gates = objective.token_gates(&stats);
        let batch: Standardiser = scores.iter().copied().collect();
        let weights = objective.sample_weights(&SampleStats {
            scores: &scores,
            batch: &batch,
            reference: Some(&scores_of(naive_log_probs(
                before[0].clone(),
                before[1].clone(),
                self.arrays.ids::<1>(&self.key("targets"), &device),
            ))),
        });

        let mut lengths = vec![0; self.samples];
        sample_of.iter().for_each(|&sample| lengths[sample] += 1);
        let counts = GlobalCounts::of(lengths.iter().copied());
        let factors: Vec<f32> = sample_of
            .iter()
            .map(|&i| {
                let share = counts.sample_factor(normalisation, lengths[i]);
                #[expect(clippy::cast_possible_truncation, reason = "as in training")]
                let factor = (data_weights[i] * weights[i] * share) as f32;
                factor
            })
            .collect();
        let factors = Tensor::<1>::from_floats(factors.as_slice(), &device.inner());
        let mut loss = family_loss(log_probs, gates.clone(), factors.clone());
        if let Some(Reference::Anchor { strength }) = objective.reference() {
            let policy = [hidden.clone(), weight.clone()];
            let divergence = linear_divergence(policy, before, Precision::F32, chunk);
            loss = loss + anchor_loss(divergence, strength, factors);
        }
        let value = values(loss.clone())[0];
        let grads = loss.backward();
        Result {
            log_probs: values(stats.log_probs),
            gates: values(gates),
            z: scores.iter().map(|&score| batch.z(score)).collect(),
            scores,
            weights,
            loss: value,
            d_hidden: values(hidden.grad(&grads).expect("hidden has a gradient")),
            d_weight: values(weight.grad(&grads).expect("weight has a gradient")),
        }
    }
}

impl Case<'_> {
    /// A reference model: its logits as hidden states, and the identity as output weight.
    fn before(&self, device: &Device) -> [Tensor<2>; 2] {
        let logits = self.arrays.tensor::<2>(&self.key("before"), device);
        let [_, vocab] = logits.dims();
        [logits, Tensor::eye(vocab, device)]
    }

    /// What the model of [`Case::before`] says of the targets as a frozen one.
    fn frozen(&self, wanted: TokenReference, before: [Tensor<2>; 2]) -> Tensor<1> {
        let [hidden, weight] = before.map(|tensor| {
            if tensor.is_autodiff() {
                tensor.inner()
            } else {
                tensor
            }
        });
        let targets = self.arrays.ids::<1>(&self.key("targets"), &hidden.device());
        match wanted {
            TokenReference::MassBelow => linear_mass_below(hidden, weight, targets, Precision::F32),
            _ => naive_log_probs(hidden, weight, targets),
        }
    }

    /// `hidden · weightᵀ`, computed in f64.
    fn logits(&self, device: &Device) -> Tensor<2> {
        let (hidden, weight) = (
            self.arrays.values(&self.key("hidden")),
            self.arrays.values(&self.key("weight")),
        );
        let [tokens, size] = self.arrays.tensor::<2>(&self.key("hidden"), device).dims();
        let vocab = weight.len() / size;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let logits: Vec<f64> = (hidden.chunks(size))
            .flat_map(|h| weight.chunks(size).map(move |w| dot(h, w)))
            .collect();
        Tensor::from_data(TensorData::new(logits, [tokens, vocab]).convert::<f32>(), device)
    }
}

fn fixtures() -> (Value, Arrays) {
    let text = fs::read_to_string(fixture("objectives.json")).expect("the fixture exists");
    (
        serde_json::from_str(&text).expect("the fixture is JSON"),
        Arrays::read("objectives.safetensors"),
    )
}

fn has_large_logits(case: &str) -> bool {
    case == "extreme-logits"
}

fn tolerance(case: &str) -> Tolerance {
    if has_large_logits(case) { F32_LARGE } else { F32 }
}

fn for_every_case(check: impl Fn(&Case<'_>, &str, &AnyObjective, &Value, &Device)) {
    let (config, arrays) = fixtures();
    let mut checked = 0;
    for (_, device) in devices() {
        let device = device.autodiff();
        for (name, case) in config["cases"].as_object().expect("cases") {
            let samples = usize::try_from(case["samples"].as_u64().expect("samples")).expect("few");
            let case_arrays = Case {
                arrays: &arrays,
                name,
                samples,
            };
            for (label, expected) in case["objectives"].as_object().expect("objectives") {
                let objective: AnyObjective =
                    serde_json::from_value(config["objectives"][label].clone()).expect("a known objective");
                check(&case_arrays, label, &objective, expected, &device);
                checked += 1;
            }
        }
    }
    assert!(
        checked >= 280,
        "the fixture covers at least 7 cases of 40 objectives, not {checked}"
    );
}

#[test]
fn values_and_gradients_equal_pytorch_in_f64() {
    for_every_case(|case, label, objective, expected, device| {
        let tolerance = tolerance(case.name);
        for (normalisation, expected) in expected.as_object().expect("normalisations") {
            let kind: Normalisation =
                serde_json::from_value(Value::String(normalisation.clone())).expect("known normalisation");
            let hidden = case.arrays.tensor::<2>(&case.key("hidden"), device);
            let weight = case.arrays.tensor::<2>(&case.key("weight"), device);
            let found = case.run(objective, kind, (hidden, weight), ChunkSize::Rows(4));
            let name = |array: &str| case.key(&format!("{label}/{array}"));
            let check =
                |key: String, found: &[f64]| tolerance.assert_close(&key, found, case.arrays.values(&key));
            check(case.key("log_p"), &found.log_probs);
            check(case.key("scores"), &found.scores);
            check(name("gate"), &found.gates);
            check(name("z"), &found.z);
            check(name("w"), &found.weights);
            check(name(&format!("{normalisation}/grad_hidden")), &found.d_hidden);
            check(name(&format!("{normalisation}/grad_weight")), &found.d_weight);
            let loss = expected["loss"].as_f64().expect("loss");
            tolerance.assert_close(&name(&format!("{normalisation}/loss")), &[found.loss], &[loss]);
        }
    });
}

/// With the identity as output weight, the gradient of `hidden` is the gradient of the logits.
#[test]
fn gradients_of_the_logits_equal_pytorch_in_f64() {
    for_every_case(|case, label, objective, _, device| {
        let logits = case.logits(device);
        let [_, vocab] = logits.dims();
        let found = case.run(
            objective,
            Normalisation::TokenMean,
            (logits, Tensor::eye(vocab, device)),
            ChunkSize::Auto,
        );
        let key = case.key(&format!("{label}/token-mean/grad_logits"));
        tolerance(case.name).assert_close(&key, &found.d_hidden, case.arrays.values(&key));
    });
}

/// The derivative of p·log p without stop-gradient changes sign at p = 1/e; ours must not.
#[test]
fn dft_raises_a_target_of_probability_one_tenth() {
    let (_, arrays) = fixtures();
    let case = Case {
        arrays: &arrays,
        name: "p-is-one-tenth",
        samples: 1,
    };
    for (_, device) in devices() {
        let logits = case.logits(&device.autodiff());
        let [_, vocab] = logits.dims();
        let eye = Tensor::eye(vocab, &logits.device());
        let found = case.run(
            &AnyObjective::from_name("dft").expect("a member"),
            Normalisation::TokenMean,
            (logits, eye),
            ChunkSize::Auto,
        );
        let target = arrays.indices(&case.key("targets"))[0];
        assert!((found.gates[0] - 0.1).abs() < 1e-6);
        // g · (p − 1) = 0.1 · (0.1 − 1): descending the loss raises the target's logit.
        assert!(
            (found.d_hidden[target] + 0.09).abs() < 1e-6,
            "{:?}",
            found.d_hidden
        );
    }
}

#[test]
fn statistics_and_divergence_equal_pytorch_in_f64() {
    let (config, arrays) = fixtures();
    for (_, device) in devices() {
        for name in config["cases"].as_object().expect("cases").keys() {
            let case = Case {
                arrays: &arrays,
                name,
                samples: 1,
            };
            let hidden = arrays.tensor::<2>(&case.key("hidden"), &device);
            let weight = arrays.tensor::<2>(&case.key("weight"), &device);
            let tolerance = if has_large_logits(name) {
                F32_LARGE
            } else {
                F32_CANCELLING
            };
            let check = |array: &str, found: Tensor<1>| {
                let key = case.key(array);
                tolerance.assert_close(&key, &values(found), arrays.values(&key));
            };
            for (array, statistic) in [
                ("entropy", Statistic::Entropy),
                ("top_entropy", Statistic::TopEntropy { k: 20 }),
                ("collision", Statistic::Collision),
                ("top_mass", Statistic::TopMass { k: 2 }),
            ] {
                let found = linear_statistic(hidden.clone(), weight.clone(), statistic, Precision::F32);
                check(array, found);
            }
            let targets = arrays.ids::<1>(&case.key("targets"), &device);
            let found = linear_mass_below(hidden.clone(), weight.clone(), targets, Precision::F32);
            check("mass_below", found);
            let policy = [hidden, weight];
            let found = linear_divergence(policy, case.before(&device), Precision::F32, ChunkSize::Rows(4));
            check("divergence", found);
        }
    }
}

/// TRL's own `dft` loss on the same logits, recorded when the fixture was made.
#[test]
fn dft_equals_trl() {
    let (config, _) = fixtures();
    let trl = config["trl"].as_object().expect("trl");
    let mut compared = 0;
    for (case, value) in trl
        .iter()
        .filter(|(case, _)| config["cases"].get(case.as_str()).is_some())
    {
        let ours = &config["cases"][case]["objectives"]["dft"]["token-mean"]["loss"];
        let value = value.get("loss").unwrap_or(value).as_f64().expect("TRL's loss");
        F32.assert_close(case, &[ours.as_f64().expect("our loss")], &[value]);
        compared += 1;
    }
    assert!(compared > 0, "no case was compared with TRL: {trl:?}");
}
