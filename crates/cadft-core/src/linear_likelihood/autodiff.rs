//! The hand-written backward pass of the fused likelihood.

use super::backend::{CadftBackend, LikelihoodKernels, Saved, Wanted};
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
        let wanted = Wanted {
            hidden: hidden.is_some(),
            weight: weight.is_some(),
        };
        let (d_hidden, d_weight) = B::likelihood_backward(ops.state, grad, wanted);
        if let (Some(node), Some(grad)) = (hidden, d_hidden) {
            grads.register::<B>(node.id, grad);
        }
        if let (Some(node), Some(grad)) = (weight, d_weight) {
            grads.register::<B>(node.id, grad);
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
