//! What passes from block to block beside the residual stream, in Gemma 4: an input for each block, and keys and values that later
//! blocks share.

use burn::tensor::{Gradients, Tensor};

/// Keys and values before rotation, each `[batch, seq, kv_heads * head_dim]`.
pub(crate) type KeysAndValues = [Tensor<3>; 2];

/// What a block gets beside the residual stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    /// The input of this block, `[batch, seq, width]`.
    pub(crate) input: Option<Tensor<3>>,
    /// The keys and values of an earlier block, if this one has none of its own.
    pub(crate) keys: Option<KeysAndValues>,
}

/// The inputs of all blocks, and the keys and values so far that later blocks share.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    inputs: Option<Tensor<3>>,
    keys: Vec<(usize, KeysAndValues)>,
    blocks: usize,
}

impl Passed {
    /// At the start: the inputs of `blocks` blocks, `[batch, seq, blocks * width]`.
    pub(super) fn new(inputs: Option<Tensor<3>>, blocks: usize) -> Self {
        Self {
            inputs,
            keys: vec![],
            blocks,
        }
    }

    /// What block `index` gets, which may have the keys of block `source`.
    ///
    /// # Panics
    /// If that block has left no keys.
    pub(super) fn beside(&self, index: usize, source: Option<usize>) -> Beside {
        let input = self.inputs.as_ref().map(|inputs| {
            let [_, _, whole] = inputs.dims();
            let width = whole / self.blocks;
            inputs.clone().slice_dim(2, index * width..(index + 1) * width)
        });
        let of_block = |source| {
            let found = self.keys.iter().find(|(block, _)| *block == source);
            found.expect("an earlier block leaves its keys").1.clone()
        };
        Beside {
            input,
            keys: source.map(of_block),
        }
    }

    /// Keeps what block `index` leaves.
    pub(super) fn keep(&mut self, index: usize, keys: Option<KeysAndValues>) {
        self.keys.extend(keys.map(|keys| (index, keys)));
    }
}

/// The gradients of what passed, in a backward pass block by block, the last one first.
pub(super) struct Below {
    /// What passed, off the autodiff graph.
    passed: Passed,
    /// The gradients of the blocks' inputs, the last block first, each `[batch, seq, width]`.
    inputs: Vec<Tensor<3>>,
    /// The gradients of keys and values so far, by the block that left them.
    keys: Vec<(usize, KeysAndValues)>,
}

impl Below {
    pub(super) fn new(passed: Passed) -> Self {
        Self {
            passed,
            inputs: vec![],
            keys: vec![],
        }
    }

    /// What block `index` got, as leaves of a graph.
    pub(super) fn leaves(&self, index: usize, source: Option<usize>) -> Beside {
        let leaf = |tensor: Tensor<3>| Tensor::from_inner(tensor).require_grad();
        let Beside { input, keys } = self.passed.beside(index, source);
        Beside {
            input: input.map(leaf),
            keys: keys.map(|keys| keys.map(leaf)),
        }
    }

    /// Adds to `loss` what the keys and values of block `index` give to later blocks.
    pub(super) fn with_keys(&self, index: usize, loss: Tensor<1>, keys: Option<KeysAndValues>) -> Tensor<1> {
        let found = self.keys.iter().find(|(block, _)| *block == index);
        match (found, keys) {
            (Some((_, gradients)), Some(keys)) => (keys.into_iter().zip(gradients.clone()))
                .fold(loss, |loss, (tensor, up)| loss + product(tensor, up)),
            _ => loss,
        }
    }

    /// Adds to `loss` what the blocks' inputs give to the blocks.
    pub(super) fn with_inputs(self, loss: Tensor<1>, inputs: Option<Tensor<3>>) -> Tensor<1> {
        match inputs {
            Some(inputs) if !self.inputs.is_empty() => {
                let ups = self.inputs.into_iter().rev().collect();
                loss + product(inputs, Tensor::cat(ups, 2))
            }
            _ => loss,
        }
    }

    /// Takes the gradients of what a block got; its keys were those of block `source`.
    pub(super) fn keep(&mut self, source: Option<usize>, beside: &Beside, grads: &mut Gradients) {
        let mut taken = |tensor: &Tensor<3>| {
            let taken = tensor.grad_remove(grads);
            taken.expect("what a block gets reaches its output")
        };
        self.inputs.extend(beside.input.as_ref().map(&mut taken));
        let (Some(source), Some(keys)) = (source, &beside.keys) else {
            return;
        };
        let new = keys.each_ref().map(taken);
        match self.keys.iter_mut().find(|(block, _)| *block == source) {
            Some((_, sums)) => {
                for (sum, new) in sums.iter_mut().zip(new) {
                    *sum = sum.clone() + new;
                }
            }
            None => self.keys.push((source, new)),
        }
    }
}

/// `Σ x · up`, whose gradient is `up`, which is off the graph.
pub(super) fn product(x: Tensor<3>, up: Tensor<3>) -> Tensor<1> {
    (x * Tensor::from_inner(up)).sum()
}
