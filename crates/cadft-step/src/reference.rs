//! What a frozen model says of the tokens of single samples, and how a global batch is given it.
//!
//! A sample is computed by itself. In a row with others, or beside longer rows, the last bits of its values would depend on those: so
//! values that were kept from before a run are, bit for bit, those that are computed in it.

use crate::batch::{GlobalBatch, MicroBatch, MicroBatching, micro_batches};
use crate::forward::supervised_states;
use burn::tensor::{Tensor, TensorData};
use cadft_batch::Example;
use cadft_core::{Objective, TokenReference, linear_log_probs, linear_mass_below};
use cadft_model::CausalLm;

/// The value of each supervised token of a sample under `model`, which is off the autodiff graph.
#[must_use]
pub fn token_values(model: &CausalLm, sample: &Example, wanted: TokenReference) -> Vec<f32> {
    let alone = [sample];
    let device = model.device();
    let parts = micro_batches(&alone, &MicroBatching::rows(1), &device).map(|micro| {
        let states = supervised_states(model, &micro);
        let (weight, options) = (model.output_weight(), model.logit_options());
        let values = match wanted {
            TokenReference::LogProb | TokenReference::Renewed { .. } => {
                linear_log_probs(states, weight, micro.targets, options)
            }
            TokenReference::MassBelow => linear_mass_below(states, weight, micro.targets, options),
        };
        values.into_data().iter::<f32>().collect::<Vec<_>>()
    });
    parts.collect::<Vec<_>>().concat()
}

impl GlobalBatch {
    /// With the values of the supervised tokens of each sample under a frozen model, in the order of the samples.
    ///
    /// # Panics
    /// If there are not as many values as supervised tokens.
    #[must_use]
    pub fn with_reference(mut self, values: Vec<Vec<f32>>) -> Self {
        let found: Vec<usize> = values.iter().map(Vec::len).collect();
        assert_eq!(found, self.supervised, "one value for each supervised token");
        for micro in &mut self.micro {
            let of_tokens = of_micro(micro, &values);
            let device = micro.token_ids.device();
            let device = if device.is_autodiff() {
                device.inner()
            } else {
                device
            };
            let tokens = of_tokens.len();
            micro.reference = Some(Tensor::from_data(TensorData::new(of_tokens, [tokens]), &device));
        }
        self.reference = Some(values);
        self
    }

    /// With what `frozen` says of the tokens of its samples, if `objective` asks for that. All values are computed here: where a
    /// batch is shared out, by every rank.
    ///
    /// # Panics
    /// If `samples` are not those of the batch.
    #[must_use]
    pub fn compared_with(self, frozen: &CausalLm, samples: &[&Example], objective: &dyn Objective) -> Self {
        let Some(wanted) = objective.token_reference() else {
            return self;
        };
        let values = samples.iter().map(|sample| token_values(frozen, sample, wanted));
        self.with_reference(values.collect())
    }

    /// `log q − log p` of every supervised token, samples one after the other; 0 for those of other ranks. `log_probs` are those of
    /// the micro-batches of this rank.
    ///
    /// # Panics
    /// If the batch has no values of a frozen model.
    pub(crate) fn excess(&self, log_probs: &[Vec<f32>]) -> Vec<f64> {
        let values = self
            .reference
            .as_ref()
            .expect("the values that `Objective::top_excess` needs");
        let mut starts = vec![];
        let mut tokens = 0;
        for supervised in &self.supervised {
            starts.push(tokens);
            tokens += supervised;
        }
        let mut excess = vec![0.0; tokens];
        for (micro, log_probs) in self.micro.iter().zip(log_probs) {
            for ((sample, token), log_prob) in places(micro).zip(log_probs) {
                // In f32, as the gates compute it.
                excess[starts[sample] + token] = f64::from(values[sample][token] - log_prob);
            }
        }
        excess
    }
}

/// The values of the tokens of a micro-batch.
fn of_micro(micro: &MicroBatch, values: &[Vec<f32>]) -> Vec<f32> {
    places(micro)
        .map(|(sample, token)| values[sample][token])
        .collect()
}

/// For each token of a micro-batch the sample of the global batch, and which of its supervised tokens it is.
fn places(micro: &MicroBatch) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut next = vec![0; micro.samples.len()];
    micro.sample_of.iter().map(move |&sample| {
        let token = next[sample];
        next[sample] += 1;
        (micro.samples[sample], token)
    })
}
