//! The backward pass of the products of a packed matrix. The graph keeps the packed matrix, which it shares.
//!
//! ```text
//! y = x Wᵀ          ∂x = ∂y W
//! ```

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};

use super::format::PackedLayout;
use super::kernels::PackedKernels;
use super::operations::PackedOperations;
use crate::products::Precision;

#[derive(Debug)]
struct Projection;

impl<B: PackedKernels> Backward<B, 1> for Projection {
    type State = (IntTensor<B>, FloatTensor<B>, PackedLayout, Precision);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [of_x] = ops.parents;
        let (codes, scales, layout, precision) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = of_x {
            let found = B::packed_input_gradient(grad, codes, scales, layout, precision);
            grads.register::<B>(node.id, found);
        }
    }
}

impl<B: PackedKernels, C: CheckpointStrategy> PackedOperations for Autodiff<B, C> {
    fn packed_linear(
        x: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let prepared = Projection.prepare::<C>([x.node()]).compute_bound().stateful();
        let (x, scales) = (x.into_primitive(), scales.into_primitive());
        let output = B::packed_projection(x, codes.clone(), scales.clone(), layout, precision);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((codes, scales, layout, precision), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn packed_squares(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::packed_row_squares(codes, scales.into_primitive(), layout))
    }

    fn packed_values(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::packed_unpacked(codes, scales.into_primitive(), layout))
    }
}
