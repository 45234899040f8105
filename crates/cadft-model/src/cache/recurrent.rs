//! The state of linear attention: what the tokens before have left, for every slot.

use burn::tensor::Tensor;

use crate::delta::{self, DeltaInput, Pass, portable};

/// The state of one block's linear attention.
#[derive(Clone, Debug)]
pub(crate) struct Recurrent {
    /// The last inputs of the convolution, `[kernel - 1, channels]`; `None` where no token has been.
    inputs: Vec<Option<Tensor<2>>>,
    /// The memory of the heads, `[value_heads, key_dim, value_dim]`.
    memory: Vec<Option<Tensor<3>>>,
}

impl Recurrent {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            inputs: vec![None; slots],
            memory: vec![None; slots],
        }
    }

    /// Replaces a slot by another one; by an empty one, if that is `None`.
    pub(super) fn copy(&mut self, from: Option<usize>, to: usize) {
        self.inputs[to] = from.and_then(|from| self.inputs[from].clone());
        self.memory[to] = from.and_then(|from| self.memory[from].clone());
    }

    /// The convolution of tokens that continue their slots.
    ///
    /// # Shapes
    /// - `x`, output: `[tokens, channels]`
    /// - `weight`: `[channels, kernel]`
    pub(crate) fn causal_conv(&mut self, x: Tensor<2>, weight: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let ([_, channels], [_, kernel]) = (x.dims(), weight.dims());
        let (held, device) = (kernel - 1, x.device());
        let mut all = Vec::with_capacity(pass.slots.len());
        for (&slot, range) in pass.slots.iter().zip(pass.segments.ranges()) {
            let before =
                (self.inputs[slot].take()).unwrap_or_else(|| Tensor::zeros([held, channels], &device));
            if held > 0 {
                let length = range.len();
                let both = Tensor::cat(vec![before.clone(), x.clone().slice_dim(0, range)], 0);
                self.inputs[slot] = Some(both.slice_dim(0, length..length + held));
            }
            all.push(before.unsqueeze_dim::<3>(0));
        }
        portable::causal_conv(x, weight, Some(Tensor::cat(all, 0)), &pass.segments)
    }

    /// The delta rule of tokens that continue their slots, `[tokens, value_heads * value_dim]`.
    pub(crate) fn delta_rule(&mut self, input: DeltaInput, pass: &Pass) -> Tensor<2> {
        let (heads, device) = (input.heads, input.query.device());
        let shape = [heads.value_heads, heads.key_dim, heads.value_dim];
        let before = pass.slots.iter().map(|&slot| {
            let memory = self.memory[slot].take();
            let memory = memory.unwrap_or_else(|| Tensor::zeros(shape, &device));
            memory.unsqueeze_dim::<4>(0)
        });
        let (output, after) = delta::delta_rule_after(input, Tensor::cat(before.collect(), 0));
        for (index, &slot) in pass.slots.iter().enumerate() {
            let own = after.clone().slice_dim(0, index..index + 1);
            self.memory[slot] = Some(own.reshape(shape));
        }
        output
    }
}
