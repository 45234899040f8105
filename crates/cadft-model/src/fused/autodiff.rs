//! The hand-written backward passes on Flex.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

use super::flex::{self, AttentionSaved};
use super::operations::DecoderOperations;
use super::{Activation, AttentionOptions};

type Float = FloatTensor<Flex>;

/// Registers the gradient of a parent, where it wants one.
macro_rules! register {
    ($grads:ident, $($node:expr => $grad:expr),+ $(,)?) => {
        $(if let Some(node) = $node {
            $grads.register::<Flex>(node.id, $grad);
        })+
    };
}

impl<C: CheckpointStrategy> DecoderOperations for Autodiff<Flex, C> {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Linear
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => {
                let y = flex::linear(x.clone(), weight.clone());
                prepared.finish((x, weight), y)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(flex::linear(x, weight)),
        }
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        let prepared = RmsNorm
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let (y, inverse) = flex::rms_norm(x.clone(), weight.clone(), epsilon);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight, inverse), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn gated(activation: Activation, gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Gated
            .prepare::<C>([gate.node(), up.node()])
            .compute_bound()
            .stateful();
        let (gate, up) = (gate.into_primitive(), up.into_primitive());
        let y = flex::gated(activation, gate.clone(), up.clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((activation, gate, up), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn causal_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> FloatTensor<Self> {
        let prepared = CausalAttention
            .prepare::<C>([query.node(), key.node(), value.node()])
            .compute_bound()
            .stateful();
        let rotation = [cos.into_primitive(), sin.into_primitive()];
        let (output, saved) = flex::causal_attention(
            [
                query.into_primitive(),
                key.into_primitive(),
                value.into_primitive(),
            ],
            rotation,
            options,
        );
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(saved, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

#[derive(Debug)]
struct Linear;

impl Backward<Flex, 2> for Linear {
    type State = (Float, Float);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, weight) = ops.state;
        register!(grads,
            x_node => flex::linear_input_gradient(grad.clone(), weight),
            weight_node => flex::linear_weight_gradient(grad, x),
        );
    }
}

#[derive(Debug)]
struct RmsNorm;

impl Backward<Flex, 2> for RmsNorm {
    type State = (Float, Float, Float);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let grad = grads.consume::<Flex>(&ops.node);
        let (d_x, d_weight) = flex::rms_norm_gradients(ops.state, grad);
        register!(grads, x_node => d_x, weight_node => d_weight);
    }
}

#[derive(Debug)]
struct Gated;

impl Backward<Flex, 2> for Gated {
    type State = (Activation, Float, Float);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [gate_node, up_node] = ops.parents;
        let grad = grads.consume::<Flex>(&ops.node);
        let (activation, gate, up) = ops.state;
        let (d_gate, d_up) = flex::gated_gradients(activation, [gate, up], grad);
        register!(grads, gate_node => d_gate, up_node => d_up);
    }
}

#[derive(Debug)]
struct CausalAttention;

impl Backward<Flex, 3> for CausalAttention {
    type State = AttentionSaved;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [query_node, key_node, value_node] = ops.parents;
        let grad = grads.consume::<Flex>(&ops.node);
        let (d_query, d_key, d_value) = flex::causal_attention_gradients(&ops.state, grad);
        register!(grads, query_node => d_query, key_node => d_key, value_node => d_value);
    }
}
