//! The backward passes: what each operation saves, and where its gradients go.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::kernels::DeltaKernels;
use super::operations::DeltaOperations;
use super::{DeltaOptions, Segments};

#[derive(Debug)]
struct Conv;

impl<B: DeltaKernels> Backward<B, 2> for Conv {
    type State = ([FloatTensor<B>; 2], Segments);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (inputs, segments) = ops.state;
        let found = B::causal_conv_gradients(inputs, grad, &segments);
        for (node, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<B>(node.id, found);
            }
        }
    }
}

#[derive(Debug)]
struct Rule;

impl<B: DeltaKernels> Backward<B, 5> for Rule {
    type State = ([FloatTensor<B>; 5], DeltaOptions);

    fn backward(self, ops: Ops<Self::State, 5>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (inputs, options) = ops.state;
        let found = B::delta_rule_gradients(inputs, grad, &options);
        for (node, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<B>(node.id, found);
            }
        }
    }
}

impl<B: DeltaKernels + DeltaOperations, C: CheckpointStrategy> DeltaOperations for Autodiff<B, C> {
    fn causal_conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, segments: Segments) -> FloatTensor<Self> {
        let prepared = Conv
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let y = B::causal_conv(x.clone(), weight.clone(), segments.clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(([x, weight], segments), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn delta_rule(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        decay: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: DeltaOptions,
    ) -> FloatTensor<Self> {
        let nodes = [&query, &key, &value, &decay, &beta].map(FloatTensor::<Self>::node);
        let prepared = Rule.prepare::<C>(nodes).compute_bound().stateful();
        let inputs = [query, key, value, decay, beta].map(FloatTensor::<Self>::into_primitive);
        let [query, key, value, decay, beta] = inputs.clone();
        let y = B::delta_rule(query, key, value, decay, beta, options.clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((inputs, options), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }
}
