//! The autodiff graph of one micro-batch: whole, or block by block if the model recomputes its activations.

use crate::accumulator::Accumulator;
use crate::batch::MicroBatch;
use crate::forward::{Likelihoods, likelihoods_of, token_likelihoods};
use burn::tensor::{Gradients, Tensor};
use cadft_core::Objective;
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use cadft_model::decoder::{Block, Recompute, Recorded};

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

    /// Runs the backward pass of `loss`; the result yields the gradients part by part.
    pub(crate) fn parts<'a>(self, loss: &Tensor<1>, model: &'a CausalLm) -> Parts<'a> {
        Parts {
            graph: self,
            grads: loss.backward(),
            model,
        }
    }
}

/// A part of the model whose gradients are complete at the same time.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    /// A block, if activations are recomputed.
    Block(&'a Block),
    /// Everything else; the whole model if activations are kept.
    Rest,
}

/// The gradients of a micro-batch, before they are handed out.
pub(crate) struct Parts<'a> {
    graph: Graph,
    grads: Gradients,
    model: &'a CausalLm,
}

impl Parts<'_> {
    /// Calls `each` with the gradients of every part: the blocks, last first, then the rest.
    pub(crate) fn each(self, each: &mut dyn FnMut(Part<'_>, ParamGradients)) {
        let Self {
            graph,
            mut grads,
            model,
        } = self;
        // Accumulate this micro-batch alone: so both uses of a tied embedding are added first, in the same order as
        // without recomputation.
        let mut own = Accumulator::new();
        own.add(model, ParamGradients::from_module(&mut grads, model));
        if let Some((recorded, last)) = graph.0
            && let Some(up) = last.grad_remove(&mut grads)
        {
            drop(grads);
            let embedding =
                model.pull_back(recorded, up, &mut |block, found| each(Part::Block(block), found));
            if let Some(embedding) = embedding {
                own.add(model, embedding);
            }
        }
        each(Part::Rest, own.take());
    }
}
