//! The graph of one micro-batch: whole, or block by block if the model recomputes its activations.

use crate::batch::MicroBatch;
use crate::forward::{Likelihoods, likelihoods_of, token_likelihoods};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use cadft_core::Objective;
use cadft_model::CausalLm;
use cadft_model::decoder::{Recompute, Recorded};

/// What the backward pass of a micro-batch needs in addition to its loss.
pub(crate) struct Graph(Option<(Recorded, Tensor<3>)>);

impl Graph {
    /// As [`token_likelihoods`].
    pub(crate) fn forward(
        model: &CausalLm,
        reference: Option<&CausalLm>,
        micro: &MicroBatch,
        objective: &dyn Objective,
    ) -> (Self, Likelihoods) {
        if model.recompute() == Recompute::None {
            return (Self(None), token_likelihoods(model, reference, micro, objective));
        }
        let (recorded, last) = model.record(micro.token_ids.clone(), micro.packing.as_ref());
        let hidden = model.finish(last.clone());
        let likelihoods = likelihoods_of(model, hidden, reference, micro, objective);
        (Self(Some((recorded, last))), likelihoods)
    }

    /// Adds the gradients of `loss` to those accumulated.
    pub(crate) fn backward(
        self,
        loss: &Tensor<1>,
        model: &CausalLm,
        gradients: &mut GradientsAccumulator<CausalLm>,
    ) {
        let mut grads = loss.backward();
        // The gradients of this micro-batch alone. Both uses of a tied embedding are then added first, in the same order as
        // without recomputation.
        let mut own = GradientsAccumulator::new();
        own.accumulate(model, GradientsParams::from_module(&mut grads, model));
        if let Some((recorded, last)) = self.0
            && let Some(up) = last.grad_remove(&mut grads)
        {
            drop(grads);
            let embedding = model.pull_back(recorded, up, &mut |found| gradients.accumulate(model, found));
            if let Some(embedding) = embedding {
                own.accumulate(model, embedding);
            }
        }
        gradients.accumulate(model, own.grads());
    }
}
