//! The backward passes: what each operation saves, and where its gradients go.

use burn::backend::Autodiff;
use burn::backend::TensorMetadata;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use cadft_kernels::Precision;

use super::kernels::{AttentionSaved, DecoderKernels};
use super::operations::DecoderOperations;
use super::{Activation, AttentionOptions};

/// Registers the gradient of each parent that is tracked.
macro_rules! register {
    ($grads:ident, $($node:expr => $grad:expr),+ $(,)?) => {
        $(if let Some(node) = $node {
            $grads.register::<B>(node.id, $grad);
        })+
    };
}

impl<B: DecoderKernels + DecoderOperations, C: CheckpointStrategy> DecoderOperations for Autodiff<B, C> {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Linear
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(prepared) => {
                let y = B::linear_forward(x.clone(), weight.clone());
                prepared.finish((x, weight), y)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::linear_forward(x, weight)),
        }
    }

    fn select_rows(x: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let prepared = SelectRows.prepare::<C>([x.node()]).compute_bound().stateful();
        let x = x.into_primitive();
        match prepared {
            OpsKind::Tracked(prepared) => {
                let state = (ids.clone(), x.shape()[0]);
                prepared.finish(state, B::select_rows(x, ids))
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::select_rows(x, ids)),
        }
    }

    fn add_bias(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = AddBias.prepare::<C>([x.node(), bias.node()]).compute_bound();
        prepared.stateless(B::add_bias(x.into_primitive(), bias.into_primitive()))
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        let prepared = RmsNorm
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let (y, inverse) = B::rms_norm_forward(x.clone(), weight.clone(), epsilon);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight, inverse), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn gated(
        activation: Activation,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let prepared = Gated
            .prepare::<C>([gate.node(), up.node()])
            .compute_bound()
            .stateful();
        let (gate, up) = (gate.into_primitive(), up.into_primitive());
        let y = B::gated_forward(activation, gate.clone(), up.clone(), precision);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((activation, gate, up, precision), y),
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
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let (merged, query, key, value, output, log_sum_exp) = B::attention_forward(
            query.into_primitive(),
            key.into_primitive(),
            value.into_primitive(),
            cos.clone(),
            sin.clone(),
            options.clone(),
        );
        match prepared {
            OpsKind::Tracked(prepared) => {
                let saved = AttentionSaved {
                    query,
                    key,
                    value,
                    output,
                    log_sum_exp,
                    cos,
                    sin,
                    options,
                };
                prepared.finish(saved, merged)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(merged),
        }
    }
}

#[derive(Debug)]
struct Linear;

impl<B: DecoderKernels> Backward<B, 2> for Linear {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        register!(grads,
            x_node => B::linear_input_gradient(grad.clone(), weight),
            weight_node => B::linear_weight_gradient(grad, x),
        );
    }
}

#[derive(Debug)]
struct SelectRows;

impl<B: DecoderKernels> Backward<B, 1> for SelectRows {
    type State = (IntTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (ids, rows) = ops.state;
        register!(grads, x_node => B::scatter_rows(grad, ids, rows));
    }
}

#[derive(Debug)]
struct AddBias;

impl<B: DecoderKernels> Backward<B, 2> for AddBias {
    type State = ();

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node, bias_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        register!(grads, bias_node => B::column_sums(grad.clone()), x_node => grad);
    }
}

#[derive(Debug)]
struct RmsNorm;

impl<B: DecoderKernels> Backward<B, 2> for RmsNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, inverse) = ops.state;
        let (d_x, d_weight) = B::rms_norm_backward(x, weight, inverse, grad);
        register!(grads, x_node => d_x, weight_node => d_weight);
    }
}

#[derive(Debug)]
struct Gated;

impl<B: DecoderKernels> Backward<B, 2> for Gated {
    type State = (Activation, FloatTensor<B>, FloatTensor<B>, Precision);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [gate_node, up_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (activation, gate, up, precision) = ops.state;
        let (d_gate, d_up) = B::gated_backward(activation, gate, up, grad, precision);
        register!(grads, gate_node => d_gate, up_node => d_up);
    }
}

#[derive(Debug)]
struct CausalAttention;

impl<B: DecoderKernels> Backward<B, 3> for CausalAttention {
    type State = AttentionSaved<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [query_node, key_node, value_node] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (d_query, d_key, d_value) = B::attention_backward(ops.state, grad);
        register!(grads, query_node => d_query, key_node => d_key, value_node => d_value);
    }
}
