//! A tiny Llama against transformers (`python/tiny_llama.py` in the repository), decoding, and bf16.

use super::Bench;
use super::arrays::{read, values};
use super::report::{Report, largest_error};
use crate::tolerance::{BF16_FOR_F32, F32, TEN_STEPS, Tolerance};
use anyhow::{Context, Result};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use cadft_core::linear_log_probs;
use cadft_model::ParamGradients;
use cadft_model::decoder::Precision;
use cadft_model::{CausalLm, Checkpoint, KvCache, checkpoint};
use cadft_step::clip::{clip_factor, global_norm, squares};
use cadft_step::optimizer::{Optimizer, OptimizerOptions};
use std::collections::BTreeMap;

type Named = BTreeMap<String, Vec<f64>>;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let expected = Expected(read(&bench.directory.join("tiny/expected.safetensors"))?);
    let device = bench.device.clone().autodiff();
    let model = load(bench, &device)?.model;
    let ids = expected.ids(&device)?;
    let logits = values(model.logits(model.hidden_states(ids.clone())));
    report.compare("model: logits", &logits, expected.of("logits")?, F32)?;
    let found = loss(&model, &ids);
    report.compare("model: loss", &values(found.clone()), expected.of("loss")?, F32)?;
    let gradients = ParamGradients::from_grads(found.backward(), &model);
    expected.compare(
        "grad",
        "model: every gradient",
        &by_name(&model, Some(&gradients)),
        F32,
        report,
    )?;
    if bench.device.supports_dtype(DType::BF16) {
        let bf16 = model.clone().with_precision(Precision::Bf16);
        let found = values(bf16.logits(bf16.hidden_states(ids.clone())));
        report.compare("model: logits by bf16 products", &found, &logits, BF16_FOR_F32)?;
    }
    ten_steps(model, &ids, &expected, report)?;
    decoding(bench, &expected, report)
}

/// The tiny model and its configuration.
pub(super) fn load(bench: &Bench<'_>, device: &Device) -> Result<Checkpoint> {
    Ok(checkpoint::load(&bench.directory.join("tiny"), device)?)
}

/// Mean negative log-likelihood of every next token.
fn loss(model: &CausalLm, ids: &Tensor<2, Int>) -> Tensor<1> {
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

/// Learning rate and largest gradient norm of the ten steps.
const LR: f64 = 1e-3;
const CLIP: f64 = 1.0;

/// Ten clipped `AdamW` steps.
fn ten_steps(
    mut model: CausalLm,
    ids: &Tensor<2, Int>,
    expected: &Expected,
    report: &mut Report,
) -> Result<()> {
    let mut optimizer = Optimizer::new(&OptimizerOptions::default());
    let (mut losses, mut norms) = (vec![], vec![]);
    for step in 0..10 {
        // In odd steps the parameters are shared, so the update must copy them; in even steps it works in place.
        let _held = (step % 2 == 1).then(|| model.clone());
        let loss = loss(&model, ids);
        losses.extend(values(loss.clone()));
        let gradients = ParamGradients::from_grads(loss.backward(), &model);
        norms.push(global_norm(&model, &gradients));
        let squares = squares(&model, &gradients).context("no gradient")?;
        let factor = clip_factor(squares, loss.inner(), CLIP);
        model = optimizer.step(LR, model, gradients, factor);
    }
    report.compare("ten steps: losses", &losses, expected.of("losses")?, TEN_STEPS)?;
    report.compare(
        "ten steps: gradient norms",
        &norms,
        expected.of("grad_norms")?,
        TEN_STEPS,
    )?;
    expected.compare(
        "trained",
        "ten steps: every weight",
        &by_name(&model, None),
        TEN_STEPS,
        report,
    )
}

/// Compares the hidden states of a row that is computed in parts, with a cache, with those of the whole row.
fn decoding(bench: &Bench<'_>, expected: &Expected, report: &mut Report) -> Result<()> {
    let Checkpoint { model, config, .. } = load(bench, &bench.device)?;
    let row = expected.ids(&bench.device)?.slice_dim(0, 0..1);
    let [_, seq] = row.dims();
    let whole = values(model.hidden_states(row.clone()));
    let mut cache = KvCache::new(&config, 1, 4);
    let mut start = 0;
    let states = [6, 1, 1, seq - 8].map(|length| {
        let part = row.clone().slice_dim(1, start..start + length);
        start += length;
        model.hidden_states_with_cache(part, &mut cache)
    });
    let found = values(Tensor::cat(states.into(), 1));
    report.compare("decoding with a cache", &found, &whole, F32)
}

/// The arrays of transformers.
struct Expected(Named);

impl Expected {
    fn of(&self, name: &str) -> Result<&[f64]> {
        let values = self
            .0
            .get(name)
            .with_context(|| format!("there is no array `{name}`"))?;
        Ok(values)
    }

    #[expect(clippy::cast_possible_truncation, reason = "ids are small integers")]
    fn ids(&self, device: &Device) -> Result<Tensor<2, Int>> {
        let ids: Vec<i64> = self.of("input_ids")?.iter().map(|&id| id as i64).collect();
        let seq = ids.len() / 2;
        Ok(Tensor::from_data(TensorData::new(ids, [2, seq]), device))
    }

    /// Compares all arrays named `KIND.NAME`, one by one.
    fn compare(
        &self,
        kind: &str,
        name: &str,
        found: &Named,
        bound: Tolerance,
        report: &mut Report,
    ) -> Result<()> {
        let prefix = format!("{kind}.");
        let expected: Vec<_> = (self.0.iter())
            .filter_map(|(name, values)| Some((name.strip_prefix(&prefix)?, values)))
            .collect();
        if expected.len() != found.len() {
            return report.measured(name, f64::INFINITY, bound);
        }
        let errors = expected.iter().map(|(name, expected)| {
            let found = found.get(*name).map_or(&[][..], Vec::as_slice);
            (*name, largest_error(found, expected, bound))
        });
        // `total_cmp` of absolute values ranks NaN of either sign above every number.
        let worst = errors.max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
        let (array, error) = worst.context("nothing to compare with")?;
        report.measured_in(name, Some(array), error, bound)
    }
}

/// The gradients or, with `None`, the trained parameters, by Hugging Face name.
fn by_name(model: &CausalLm, gradients: Option<&ParamGradients>) -> Named {
    let names = model.named_parameters().into_iter();
    let mut visitor = ByName {
        names: names.map(|parameter| (parameter.id, parameter.name)).collect(),
        gradients,
        found: Named::new(),
    };
    model.visit(&mut visitor);
    visitor.found
}

struct ByName<'a> {
    names: BTreeMap<ParamId, String>,
    gradients: Option<&'a ParamGradients>,
    found: Named,
}

impl ModuleVisitor for ByName<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            Some(gradients) => gradients.get::<D>(param.id),
            None => Some(param.val().inner()),
        };
        if let (Some(name), Some(tensor)) = (self.names.get(&param.id), tensor) {
            self.found.insert(name.clone(), values(tensor));
        }
    }
}
