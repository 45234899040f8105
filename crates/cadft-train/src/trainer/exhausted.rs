//! The error of a run whose device ran out of memory.

use crate::checkpoint;
use crate::config::Recipe;
use crate::exhausted::{Exhausted, ExhaustedRun};
use crate::prepare::Prepared;
use burn::tensor::DType;
use cadft_model::decoder::{Precision, Recompute};
use std::path::Path;

/// The error of a run in the directory `run` that ended after `step` steps.
pub(super) fn run(what: Exhausted, step: usize, prepared: &Prepared, run: &Path) -> ExhaustedRun {
    let newest = checkpoint::newest(run).ok().and_then(|(newest, _)| newest);
    let has_bf16 = prepared.device.supports_dtype(DType::BF16);
    ExhaustedRun {
        what,
        step,
        estimate_mib: prepared.plan.memory_mib,
        checkpoint: newest.map(|restored| restored.path),
        run: run.to_owned(),
        advice: advice(&prepared.recipe, has_bf16),
    }
}

/// Settings of a recipe that reduce memory, those with the least effect on the result first.
fn advice(recipe: &Recipe, has_bf16: bool) -> String {
    let mut advice = vec![];
    if recipe.model.recompute == Recompute::None {
        advice.push("set `model.recompute = \"blocks\"`".to_owned());
    }
    match recipe.batch.max_tokens {
        Some(tokens) => advice.push(format!("lower `batch.max-tokens` (now {tokens})")),
        None if recipe.batch.micro > 1 => {
            advice.push(format!("lower `batch.micro` (now {})", recipe.batch.micro));
        }
        None => {}
    }
    advice.push(format!(
        "lower `data.max-length` (now {})",
        recipe.data.max_length
    ));
    if has_bf16 && recipe.model.precision == Precision::F32 {
        advice.push("set `model.precision = \"bf16\"`".to_owned());
    }
    if recipe.adapter.is_none() {
        advice.push("train an `[adapter]`".to_owned());
    }
    advice.join(", or ")
}
