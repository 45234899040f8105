//! Micro-batches, padding, packing and recomputation must not change the step.

use super::Bench;
use super::arrays::values;
use super::model::load;
use super::report::{Report, largest_error, worst};
use crate::tolerance::{REORDERED, REORDERED_GRADIENT};
use anyhow::{Result, anyhow};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use cadft_core::{AnyObjective, Normalisation, RunningMoments};
use cadft_data::{Bucketing, Example, Origin, Packing};
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use cadft_model::decoder::Recompute;
use cadft_step::MicroBatching;
use cadft_step::batch::GlobalBatch;
use cadft_step::step::{Backward, StepSettings, backward};

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let model = load(bench, &bench.device.clone().autodiff())?.model;
    let alone = gradient(&model, &section(1))?;
    let unsorted = MicroBatching {
        bucketing: Bucketing::None,
        ..section(8)
    };
    let packed = MicroBatching {
        packing: Packing::BestFit,
        ..section(2)
    };
    let padding_free = MicroBatching {
        packing: Packing::PaddingFree,
        ..section(3)
    };
    let budgeted = MicroBatching {
        packing: Packing::BestFit,
        max_tokens: Some(16),
        ..section(1)
    };
    for (name, section) in [
        ("micro-batches of 3", section(3)),
        ("padding", unsorted),
        ("samples in one row", padding_free),
        ("packing", packed),
        ("packing to 16 tokens", budgeted),
    ] {
        compare(name, &gradient(&model, &section)?, &alone, report)?;
    }
    let recomputed = gradient(&model.with_recompute(Recompute::Blocks), &section(1))?;
    compare("recomputation", &recomputed, &alone, report)
}

fn section(micro: usize) -> MicroBatching {
    MicroBatching {
        micro,
        max_tokens: None,
        bucketing: Bucketing::ByLength,
        packing: Packing::None,
    }
}

/// Eight samples of unequal length with unequal weights.
fn examples() -> Vec<Example> {
    (0..8u32)
        .map(|i| {
            let length = 4 + i * 5 % 9;
            Example {
                id: i.to_string(),
                weight: 1.0 + f64::from(i % 3) * 0.5,
                token_ids: (0..length).map(|t| (t * 31 + i * 17) % 67).collect(),
                prompt_len: 1,
                loss_mask: (0..length).map(|t| t > 0 && !(t + i).is_multiple_of(4)).collect(),
                answer: None,
                origin: Origin::default(),
            }
        })
        .collect()
}

/// The values of a step before its update.
struct Found {
    /// Loss, sums, statistics, norm.
    scalars: Vec<f64>,
    scores: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

fn gradient(model: &CausalLm, section: &MicroBatching) -> Result<Found> {
    let examples = examples();
    let examples: Vec<&Example> = examples.iter().collect();
    let objective = AnyObjective::from_name("cadft").ok_or_else(|| anyhow!("`cadft` is no objective"))?;
    let settings = StepSettings {
        objective: &objective,
        reference: None,
        normalisation: Normalisation::TokenMean,
        lr: 1.0,
        clip: 1.0,
    };
    let batch = GlobalBatch::new(&examples, section, &model.device());
    let Backward {
        gradients, outcome, ..
    } = backward(model, &batch, &settings, &RunningMoments::new(0.99));
    let mut all = All {
        gradients: &gradients,
        found: vec![],
    };
    model.visit(&mut all);
    Ok(Found {
        scalars: vec![
            outcome.loss,
            outcome.nll_sum,
            outcome.gate_sum,
            outcome.standardiser.mean,
            outcome.standardiser.std,
            outcome.grad_norm,
        ],
        scores: outcome.scores,
        gradients: all.found,
    })
}

struct All<'a> {
    gradients: &'a ParamGradients,
    found: Vec<Vec<f64>>,
}

impl ModuleVisitor for All<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.extend(self.gradients.get::<D>(param.id).map(values));
    }
}

fn compare(name: &str, found: &Found, expected: &Found, report: &mut Report) -> Result<()> {
    let pairs = found.scalars.iter().zip(&expected.scalars);
    let scalars = pairs.map(|(found, expected)| largest_error(&[*found], &[*expected], REORDERED));
    report.measured(&format!("{name}: loss and statistics"), worst(scalars), REORDERED)?;
    report.compare(
        &format!("{name}: scores"),
        &found.scores,
        &expected.scores,
        REORDERED,
    )?;
    let pairs = found.gradients.iter().zip(&expected.gradients);
    let gradients = pairs.map(|(found, expected)| largest_error(found, expected, REORDERED_GRADIENT));
    let error = if found.gradients.len() == expected.gradients.len() {
        worst(gradients)
    } else {
        f64::INFINITY
    };
    report.measured(&format!("{name}: every gradient"), error, REORDERED_GRADIENT)
}
