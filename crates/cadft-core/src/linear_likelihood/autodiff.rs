//! The hand-written backward pass of the fused likelihood.

use super::backend::{CadftBackend, LikelihoodKernels, Saved, Wanted};
use super::chunk::ChunkSize;
use super::divergence::{Projection, portable_divergence, portable_divergence_backward};
use super::statistic::Statistic;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn::tensor::DType;
use cadft_matmul::{Precision, cast};

#[derive(Debug)]
struct LinearLogProbs;

impl<B: LikelihoodKernels> Backward<B, 2> for LinearLogProbs {
    /// With the number formats of `hidden` and `weight` as they came, in which their gradients go back.
    type State = (Saved<B>, [DType; 2]);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [hidden, weight] = ops.parents;
        let (saved, [of_hidden, of_weight]) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        match (hidden, weight) {
            (hidden, Some(weight)) => {
                let (d_hidden, d_weight) = B::likelihood_backward(saved, grad);
                grads.register::<B>(weight.id, cast::<B>(d_weight, of_weight));
                if let Some(hidden) = hidden {
                    grads.register::<B>(hidden.id, cast::<B>(d_hidden, of_hidden));
                }
            }
            (Some(hidden), None) => {
                let d_hidden = B::likelihood_backward_hidden(saved, grad);
                grads.register::<B>(hidden.id, cast::<B>(d_hidden, of_hidden));
            }
            (None, None) => {}
        }
    }
}

#[derive(Debug)]
struct LinearDivergence;

impl<B: LikelihoodKernels> Backward<B, 2> for LinearDivergence {
    /// Policy and reference, and the number formats in which the gradients go back.
    type State = ([Projection<B>; 2], ChunkSize, [DType; 2]);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [hidden, weight] = ops.parents;
        let ([policy, reference], chunk, [of_hidden, of_weight]) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let wanted = match weight {
            Some(_) => Wanted::Both,
            None => Wanted::Hidden,
        };
        let (d_hidden, d_weight) =
            portable_divergence_backward::<B>(&policy, &reference, &grad, chunk, wanted);
        if let (Some(weight), Some(d_weight)) = (weight, d_weight) {
            grads.register::<B>(weight.id, cast::<B>(d_weight, of_weight));
        }
        if let Some(hidden) = hidden {
            grads.register::<B>(hidden.id, cast::<B>(d_hidden, of_hidden));
        }
    }
}

impl<B: CadftBackend + LikelihoodKernels, C: CheckpointStrategy> CadftBackend for Autodiff<B, C> {
    fn linear_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        precision: Precision,
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
                let hidden = precision.factor::<B>(hidden);
                let (log_probs, log_sum_exp) =
                    B::likelihood_forward(hidden.clone(), weight.clone(), targets.clone(), chunk);
                let saved = Saved {
                    hidden,
                    weight,
                    targets,
                    log_sum_exp,
                    chunk,
                };
                prepared.finish((saved, dtypes), log_probs)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::linear_log_probs(hidden, weight, targets, precision, chunk))
            }
        }
    }

    fn linear_statistic(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        statistic: Statistic,
        precision: Precision,
        chunk: ChunkSize,
    ) -> FloatTensor<Self> {
        let (hidden, weight) = (Self::inner(hidden), Self::inner(weight));
        Self::from_inner(B::linear_statistic(hidden, weight, statistic, precision, chunk))
    }

    fn linear_divergence(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reference_hidden: FloatTensor<Self>,
        reference_weight: FloatTensor<Self>,
        precision: Precision,
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
                let policy = Projection::<B> { hidden, weight }.factors(precision);
                let reference = Projection {
                    hidden: reference_hidden,
                    weight: reference_weight,
                };
                let reference = reference.factors(precision);
                let divergence = portable_divergence::<B>(&policy, &reference, chunk);
                prepared.finish(([policy, reference], chunk, dtypes), divergence)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::linear_divergence(
                hidden,
                weight,
                reference_hidden,
                reference_weight,
                precision,
                chunk,
            )),
        }
    }
}
