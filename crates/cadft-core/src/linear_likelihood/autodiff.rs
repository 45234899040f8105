//! The hand-written backward pass of the fused likelihood.

use super::chunk::ChunkSize;
use super::inputs::{Compared, Logits, Saved};
use super::kernels::LikelihoodKernels;
use super::operations::LikelihoodOperations;
use super::statistic::Statistic;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn::tensor::DType;
use cadft_kernels::{LogitOptions, cast};

#[derive(Debug)]
struct LinearLogProbs;

impl<B: LikelihoodKernels> Backward<B, 2> for LinearLogProbs {
    /// The saved inputs, and the original dtypes of `hidden` and `weight`, which their gradients get.
    type State = (Saved<B>, [DType; 2]);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        let (saved, dtypes) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (d_hidden, d_weight) = match parents[1] {
            Some(_) => {
                let (d_hidden, d_weight) = B::likelihood_backward(saved, grad);
                (d_hidden, Some(d_weight))
            }
            None => (B::likelihood_backward_hidden(saved, grad), None),
        };
        register::<B>(grads, parents, dtypes, [Some(d_hidden), d_weight]);
    }
}

#[derive(Debug)]
struct LinearDivergence;

impl<B: LikelihoodKernels> Backward<B, 2> for LinearDivergence {
    /// The compared inputs, and the dtypes that the gradients get.
    type State = (Compared<B>, [DType; 2]);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        let (compared, dtypes) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (d_hidden, d_weight) = match parents[1] {
            Some(_) => {
                let (d_hidden, d_weight) = B::divergence_backward(compared, grad);
                (d_hidden, Some(d_weight))
            }
            None => (B::divergence_backward_hidden(compared, grad), None),
        };
        register::<B>(grads, parents, dtypes, [Some(d_hidden), d_weight]);
    }
}

/// Registers the gradients of hidden states and weight, each in its dtype, if they are tracked.
fn register<B: LikelihoodKernels>(
    grads: &mut Gradients,
    parents: [Option<NodeId>; 2],
    dtypes: [DType; 2],
    found: [Option<FloatTensor<B>>; 2],
) {
    for ((parent, dtype), found) in parents.into_iter().zip(dtypes).zip(found) {
        if let (Some(parent), Some(found)) = (parent, found) {
            grads.register::<B>(parent, cast::<B>(found, dtype));
        }
    }
}

impl<B: LikelihoodOperations + LikelihoodKernels, C: CheckpointStrategy> LikelihoodOperations
    for Autodiff<B, C>
{
    fn linear_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: LogitOptions,
        chunk: ChunkSize,
    ) -> FloatTensor<Self> {
        let prepared = LinearLogProbs
            .prepare::<C>([hidden.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (hidden, weight) = (hidden.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => {
                let dtypes = [hidden.dtype(), weight.dtype()];
                let hidden = options.precision.factor::<B>(hidden);
                let logits = Logits::new(options, chunk);
                let (log_probs, log_sum_exp) =
                    B::likelihood_forward(hidden.clone(), weight.clone(), targets.clone(), logits);
                let saved = Saved {
                    hidden,
                    weight,
                    targets,
                    log_sum_exp,
                    logits,
                };
                prepared.finish((saved, dtypes), log_probs)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::linear_log_probs(hidden, weight, targets, options, chunk))
            }
        }
    }

    fn linear_statistic(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        statistic: Statistic,
        options: LogitOptions,
        chunk: ChunkSize,
    ) -> FloatTensor<Self> {
        let (hidden, weight) = (Self::inner(hidden), Self::inner(weight));
        Self::from_inner(B::linear_statistic(hidden, weight, statistic, options, chunk))
    }

    fn linear_divergence(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reference_hidden: FloatTensor<Self>,
        reference_weight: FloatTensor<Self>,
        options: [LogitOptions; 2],
        chunk: ChunkSize,
    ) -> FloatTensor<Self> {
        let prepared = LinearDivergence
            .prepare::<C>([hidden.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (hidden, weight) = (hidden.into_primitive(), weight.into_primitive());
        let (reference_hidden, reference_weight) =
            (Self::inner(reference_hidden), Self::inner(reference_weight));
        match prepared {
            OpsKind::Tracked(prepared) => {
                let dtypes = [hidden.dtype(), weight.dtype()];
                let factors = [hidden, weight, reference_hidden, reference_weight];
                let compared = Compared::new(factors, options, chunk);
                let divergence = B::divergence_forward(compared.clone());
                prepared.finish((compared, dtypes), divergence)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::linear_divergence(
                hidden,
                weight,
                reference_hidden,
                reference_weight,
                options,
                chunk,
            )),
        }
    }
}
