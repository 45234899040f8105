//! Forward pass: the likelihoods of the targets of a micro-batch.

use crate::batch::{GlobalBatch, MicroBatch};
use crate::observe::{OfTokens, Readback};
use crate::ranks::Ranks;
use burn::tensor::Tensor;
use cadft_core::reduction::sample_scores;
use cadft_core::{
    ChunkSize, LogitOptions, Objective, Reference, TokenStats, linear_divergence, linear_log_probs,
    linear_statistic,
};
use cadft_model::{CausalLm, fused};

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
    fused::select_rows(hidden.reshape([rows * seq, size]), micro.positions.clone())
}

/// What an objective receives about a micro-batch; all `[tokens]`.
pub struct Likelihoods {
    /// Log-likelihood of each target, on the autodiff graph.
    pub log_probs: Tensor<1>,
    /// The same without gradient, and the statistic of the distribution that the objective requests.
    pub stats: TokenStats,
    /// Log-likelihood under the reference model, without gradient, if the objective requests [`Reference::Scores`].
    pub reference: Option<Tensor<1>>,
    /// Divergence from the reference model in nats, on the autodiff graph, if the objective requests
    /// [`Reference::Anchor`].
    pub divergence: Option<Tensor<1>>,
}

impl Likelihoods {
    /// The values to read from the device, together with the gates.
    pub(crate) fn values(&self, gates: Tensor<1>) -> OfTokens<Tensor<1>> {
        OfTokens {
            log_probs: self.stats.log_probs.clone(),
            gates,
            reference: self.reference.clone(),
            divergence: self.divergence.clone().map(Tensor::inner),
        }
    }
}

/// The likelihoods of the targets of a micro-batch, and the other statistics that the objective requests.
///
/// # Panics
/// If the objective requires a reference model and `reference` is `None`.
#[must_use]
pub fn token_likelihoods(
    model: &CausalLm,
    reference: Option<&CausalLm>,
    micro: &MicroBatch,
    objective: &dyn Objective,
) -> Likelihoods {
    likelihoods_of(model, hidden_states(model, micro), reference, micro, objective)
}

/// As [`token_likelihoods`], from given hidden states `[rows, seq, hidden]`.
pub(crate) fn likelihoods_of(
    model: &CausalLm,
    hidden: Tensor<3>,
    reference: Option<&CausalLm>,
    micro: &MicroBatch,
    objective: &dyn Objective,
) -> Likelihoods {
    let states = select_supervised(hidden, micro);
    let (weight, options) = (model.output_weight(), model.logit_options());
    let statistic = (objective.statistic())
        .map(|wanted| linear_statistic(states.clone().inner(), weight.clone().inner(), wanted, options));
    let log_probs = linear_log_probs(states.clone(), weight.clone(), micro.targets.clone(), options);
    let mut likelihoods = Likelihoods {
        stats: TokenStats {
            statistic,
            reference: micro.reference.clone(),
            ..TokenStats::detached(&log_probs)
        },
        log_probs,
        reference: None,
        divergence: None,
    };
    let Some(wanted) = objective.reference() else {
        return likelihoods;
    };
    let reference = reference.expect("a reference model for an objective that looks at one");
    let micro = micro.clone().inner();
    let before = [supervised_states(reference, &micro), reference.output_weight()];
    let of_both = [
        options,
        LogitOptions {
            precision: options.precision,
            ..reference.logit_options()
        },
    ];
    match wanted {
        Reference::Scores => {
            let [states, weight] = before;
            let options = of_both[1];
            likelihoods.reference = Some(linear_log_probs(states, weight, micro.targets, options));
        }
        Reference::Anchor { .. } => {
            let divergence = linear_divergence([states, weight], before, of_both, ChunkSize::Auto);
            likelihoods.divergence = Some(divergence);
        }
    }
    likelihoods
}

/// The score (CADFT-1) of every sample of a global batch, without gradient. `model` must be off the autodiff graph.
#[must_use]
pub fn score(model: &CausalLm, batch: &GlobalBatch) -> Vec<f64> {
    let mut readback = Readback::default();
    let log_probs = batch.micro.iter().map(|micro| log_probs_of(model, micro));
    let read = readback.read(log_probs.collect());
    scores_of(batch, &read, readback.ranks())
}

/// The log-likelihoods of the targets of a micro-batch, `[tokens]`. `model` must be off the autodiff graph.
pub(crate) fn log_probs_of(model: &CausalLm, micro: &MicroBatch) -> Tensor<1> {
    let micro = micro.clone().inner();
    let states = supervised_states(model, &micro);
    linear_log_probs(
        states,
        model.output_weight(),
        micro.targets,
        model.logit_options(),
    )
}

/// The scores of the samples of all ranks, from the log-likelihoods of this one's micro-batches.
pub(crate) fn scores_of(batch: &GlobalBatch, log_probs: &[Vec<f32>], ranks: &Ranks) -> Vec<f64> {
    let mut scores = vec![0.0; batch.ids.len()];
    for (micro, log_probs) in batch.micro.iter().zip(log_probs) {
        let own = sample_scores(log_probs, &micro.sample_of, micro.samples.len());
        for (&sample, score) in micro.samples.iter().zip(own) {
            scores[sample] = score;
        }
    }
    ranks.complete(&mut scores);
    scores
}
