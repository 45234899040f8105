//! Block-level recomputation of activations (Chen et al. 2016, arXiv 1604.06174): the forward pass keeps only the input
//! of every block. The backward pass runs each block again, the last one first.
//!
//! ```text
//! forward    x₀ = embedding,  x_{l+1} = block_l(x_l)                     no graph, every x_l kept
//! backward   g_L given,  g_l = ∂⟨block_l(x_l), g_{l+1}⟩ / ∂x_l           the graph of one block at a time
//! ```
//!
//! What passes beside the residual stream in Gemma 4 is kept, too: the inputs of the blocks, and the keys and values that blocks
//! share. Their gradients are added up over the blocks that use them.
//!
//! The gradients equal those of the ordinary backward pass, operation by operation. Memory is that of the kept inputs
//! and of one block's graph.

use crate::ParamGradients;
use burn::module::Module;
use burn::tensor::{Int, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::beside::{Below, Passed, product};
use super::block::Block;
use super::embedding::Start;
use super::{CausalLm, Context, Packing};

/// Whether training keeps activations or recomputes them in the backward pass. Recomputing gives the same gradients
/// with less memory, and takes a third more time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Recompute {
    /// Every activation is kept.
    #[default]
    None,
    /// Only the inputs of the blocks are kept.
    Blocks,
}

/// A forward pass that kept only the inputs of the blocks, off the autodiff graph.
#[derive(Debug)]
pub struct Recorded {
    token_ids: Tensor<2, Int>,
    packing: Option<Packing>,
    /// The input of every block, each `[batch, seq, hidden]`.
    inputs: Vec<Tensor<3>>,
    passed: Passed,
    /// The seed of adapter dropout in that pass.
    draw: u64,
}

impl CausalLm {
    /// Sets whether training keeps activations. Generation and scoring never keep them.
    #[must_use]
    pub fn with_recompute(mut self, recompute: Recompute) -> Self {
        self.model.recompute = recompute;
        self
    }

    /// Whether training keeps activations.
    #[must_use]
    pub fn recompute(&self) -> Recompute {
        self.model.recompute
    }

    /// Runs the blocks off the autodiff graph. Returns the recording for [`CausalLm::pull_back`], and the hidden states
    /// before the final norm as a leaf of the graph.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn record(&self, token_ids: Tensor<2, Int>, packing: Option<&Packing>) -> (Recorded, Tensor<3>) {
        let plain = self.valid();
        let mut inputs = Vec::with_capacity(self.model.layers.len() + 1);
        let (_, passed) = self.model.dropout.forced(|| {
            let context = plain.context(&token_ids, packing);
            let keep = &mut |state: &Tensor<3>| inputs.push(state.clone());
            plain.model.run(token_ids.clone().inner(), &context, None, keep)
        });
        let last = inputs
            .pop()
            .expect("the embedding is observed in a model without blocks too");
        let recorded = Recorded {
            token_ids,
            packing: packing.cloned(),
            inputs,
            passed,
            draw: self.model.dropout.now(),
        };
        (recorded, Tensor::from_inner(last).require_grad())
    }

    /// The final norm, on the autodiff graph.
    ///
    /// # Shapes
    /// - `last`, output: `[batch, seq, hidden]`
    #[must_use]
    pub fn finish(&self, last: Tensor<3>) -> Tensor<3> {
        self.model.norm.forward(last)
    }

    /// Runs the blocks again, the last one first, and calls `each` with every block and the gradients of its
    /// parameters. Returns the gradients of what is before the blocks, if it is trained: a tied embedding also has a gradient
    /// as output weight.
    ///
    /// # Shapes
    /// - `up`: the gradient of the hidden states before the final norm, off the graph, `[batch, seq, hidden]`
    pub fn pull_back(
        &self,
        recorded: Recorded,
        mut up: Tensor<3>,
        each: &mut dyn FnMut(&Block, ParamGradients),
    ) -> Option<ParamGradients> {
        let Recorded {
            token_ids,
            packing,
            mut inputs,
            passed,
            draw,
        } = recorded;
        let mut below = Below::new(passed);
        let context = self.context(&token_ids, packing.as_ref());
        self.model.dropout.set(draw);
        for (index, block) in self.model.layers.iter().enumerate().rev() {
            let input = inputs.pop().expect("every block has an input");
            let input = Tensor::from_inner(input).require_grad();
            let beside = below.leaves(index, block.key_source());
            let (output, keys) = block.forward(input.clone(), beside.clone(), &context, None);
            let loss = below.with_keys(index, product(output, up), keys);
            let mut grads = loss.backward();
            each(block, ParamGradients::from_module(&mut grads, block));
            below.keep(block.key_source(), &beside, &mut grads);
            up = input
                .grad_remove(&mut grads)
                .expect("the input of a block reaches its output");
        }
        self.model.trains_start().then(|| {
            let Start { hidden, inputs } = self.model.start(token_ids);
            let loss = below.with_inputs(product(hidden, up), inputs);
            // Only what is before the blocks is in this graph.
            ParamGradients::from_grads(loss.backward(), &self.model)
        })
    }

    fn context(&self, token_ids: &Tensor<2, Int>, packing: Option<&Packing>) -> Context {
        let [_, seq] = token_ids.dims();
        match packing {
            Some(packing) => Context::packed(&self.model.shared, seq, packing, &self.device()),
            None => Context::new(
                &self.model.shared,
                seq,
                None,
                &self.model.embed_tokens.weight.val(),
            ),
        }
    }
}
