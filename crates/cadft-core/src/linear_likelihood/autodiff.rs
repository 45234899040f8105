//! The hand-written backward pass of the fused likelihood.

use super::backend::{CadftBackend, LikelihoodKernels, Saved};
use super::chunk::ChunkSize;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};

#[derive(Debug)]
struct LinearLogProbs;

impl<B: LikelihoodKernels> Backward<B, 2> for LinearLogProbs {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [hidden, weight] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        match (hidden, weight) {
            (hidden, Some(weight)) => {
                let (d_hidden, d_weight) = B::likelihood_backward(ops.state, grad);
                grads.register::<B>(weight.id, d_weight);
                if let Some(hidden) = hidden {
                    grads.register::<B>(hidden.id, d_hidden);
                }
            }
            (Some(hidden), None) => {
                grads.register::<B>(hidden.id, B::likelihood_backward_hidden(ops.state, grad));
            }
            (None, None) => {}
        }
    }
}

impl<B: CadftBackend + LikelihoodKernels, C: CheckpointStrategy> CadftBackend for Autodiff<B, C> {
    fn linear_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        chunk: ChunkSize,
    ) -> FloatTensor<Self> {
        let prepared = LinearLogProbs
            .prepare::<C>([hidden.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (hidden, weight) = (hidden.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => {
                let (log_probs, log_sum_exp) =
                    B::likelihood_forward(hidden.clone(), weight.clone(), targets.clone(), chunk);
                prepared.finish(
                    Saved {
                        hidden,
                        weight,
                        targets,
                        log_sum_exp,
                        chunk,
                    },
                    log_probs,
                )
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::linear_log_probs(hidden, weight, targets, chunk))
            }
        }
    }

    fn linear_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        chunk: ChunkSize,
    ) -> FloatTensor<Self> {
        use burn::backend::AutodiffBackend;
        Self::from_inner(B::linear_entropy(Self::inner(hidden), Self::inner(weight), chunk))
    }
}
