//! From a micro-batch to the likelihood of its targets.

use crate::batch::{GlobalBatch, MicroBatch};
use crate::readback::Readback;
use burn::tensor::Tensor;
use cadft_core::reduction::sample_scores;
use cadft_core::{AnyObjective, Objective, TokenStats, linear_entropy, linear_log_probs};
use cadft_model::CausalLm;

/// Hidden states of the supervised positions, `[tokens, hidden]`.
#[must_use]
pub fn supervised_states(model: &CausalLm, micro: &MicroBatch) -> Tensor<2> {
    select_supervised(hidden_states(model, micro), micro)
}

/// The last hidden states of a micro-batch, `[rows, seq, hidden]`.
fn hidden_states(model: &CausalLm, micro: &MicroBatch) -> Tensor<3> {
    match &micro.packing {
        Some(packing) => model.hidden_states_packed(micro.token_ids.clone(), packing),
        None => model.hidden_states(micro.token_ids.clone()),
    }
}

/// The supervised positions of hidden states `[rows, seq, hidden]`.
fn select_supervised(hidden: Tensor<3>, micro: &MicroBatch) -> Tensor<2> {
    let [rows, seq, size] = hidden.dims();
    hidden
        .reshape([rows * seq, size])
        .select(0, micro.positions.clone())
}

/// Log-likelihoods of the targets on the graph, and what the objective asks about them off it; all `[tokens]`.
#[must_use]
pub fn token_likelihoods(
    model: &CausalLm,
    micro: &MicroBatch,
    objective: &AnyObjective,
) -> (Tensor<1>, TokenStats) {
    likelihoods_of(model, hidden_states(model, micro), micro, objective)
}

/// As [`token_likelihoods`], of hidden states `[rows, seq, hidden]` that are there already.
pub(crate) fn likelihoods_of(
    model: &CausalLm,
    hidden: Tensor<3>,
    micro: &MicroBatch,
    objective: &AnyObjective,
) -> (Tensor<1>, TokenStats) {
    let states = select_supervised(hidden, micro);
    let (weight, precision) = (model.output_weight(), model.precision());
    let entropy = objective
        .needs_entropy()
        .then(|| linear_entropy(states.clone().inner(), weight.clone().inner(), precision));
    let log_probs = linear_log_probs(states, weight, micro.targets.clone(), precision);
    let stats = TokenStats {
        entropy,
        ..TokenStats::detached(&log_probs)
    };
    (log_probs, stats)
}

/// CADFT-1 for every sample of a global batch, without gradient; `model` is off the autodiff graph.
#[must_use]
pub fn score(model: &CausalLm, batch: &GlobalBatch) -> Vec<f64> {
    read_scores(model, batch, &mut Readback::default())
}

/// As [`score`], all micro-batches read together.
pub(crate) fn read_scores(model: &CausalLm, batch: &GlobalBatch, readback: &mut Readback) -> Vec<f64> {
    let log_probs = batch.micro.iter().map(|micro| {
        let micro = micro.clone().inner();
        let states = supervised_states(model, &micro);
        linear_log_probs(states, model.output_weight(), micro.targets, model.precision())
    });
    let read = readback.read(log_probs.collect());
    let mut scores = vec![0.0; batch.ids.len()];
    for (micro, log_probs) in batch.micro.iter().zip(read) {
        let own = sample_scores(&log_probs, &micro.sample_of, micro.samples.len());
        for (&sample, score) in micro.samples.iter().zip(own) {
            scores[sample] = score;
        }
    }
    scores
}
