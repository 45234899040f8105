//! The sparse feed-forward block: a router chooses the experts of each token; their outputs are added by weight.
//!
//! ```text
//! p   = softmax(W_gate x)                        over all experts, never in bf16; in TF32 where f32 products are
//! S   = the experts with the `num_experts_per_tok` largest p; of equal ones the first
//! w_e = p_e, or p_e / Σ_{i ∈ S} p_i              the latter with `norm_topk_prob`
//! y   = Σ_{e ∈ S} w_e · expert_e(x)              in the order of the experts
//! ```
//!
//! The tokens of an expert are gathered and multiplied together. Every output row is then looked up by its token, so
//! the sum of a token has the same order in every batch. Memory is that of `num_experts_per_tok` dense blocks of an
//! expert's width, however many experts there are.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Mlp;
use super::linear::{Bias, Linear};
use crate::config::{Experts, ModelConfig};
use crate::fused;
use crate::parameters::Parameters;

/// The sparse feed-forward block.
#[derive(Module, Debug)]
pub struct SparseMlp {
    /// The router, whose product is never in bf16. Its weight is `[experts, hidden]`.
    pub gate: Linear,
    /// The experts.
    pub experts: Vec<Mlp>,
    #[module(skip)]
    per_token: usize,
    #[module(skip)]
    is_normalised: bool,
}

impl SparseMlp {
    pub(crate) fn new(
        config: &ModelConfig,
        experts: &Experts,
        name: &str,
        make: &mut Parameters<'_>,
    ) -> Self {
        let shape = [experts.num_experts, config.hidden_size];
        let gate = Linear::new(&format!("{name}.gate"), shape, Bias::Absent, make);
        let width = experts.moe_intermediate_size;
        Self {
            gate,
            experts: (0..experts.num_experts)
                .map(|index| Mlp::new(config, width, &format!("{name}.experts.{index}"), make))
                .collect(),
            per_token: experts.num_experts_per_tok,
            is_normalised: experts.norm_topk_prob,
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let ([batch, seq, hidden], device) = (x.dims(), x.device());
        let tokens = batch * seq;
        let x = x.reshape([tokens, hidden]);
        let probabilities = softmax(fused::linear(x.clone(), self.gate.weight.val())); // [tokens, experts]
        let routes = Routes::choose(&probabilities, self.per_token, self.trains(&device));
        let weights = self
            .weights(probabilities, &routes)
            .reshape([tokens, self.per_token, 1]);
        let outputs = self.outputs(&x, &routes); // [routed, hidden]
        let outputs = fused::select_rows(outputs, ids(&routes.rows, &device)); // [tokens * per_token, hidden]
        let outputs = outputs.reshape([tokens, self.per_token, hidden]) * weights;
        outputs.sum_dim(1).reshape([batch, seq, hidden])
    }

    /// The weights of each token's experts, `[tokens, per_token]`.
    fn weights(&self, probabilities: Tensor<2>, routes: &Routes) -> Tensor<2> {
        let [tokens, _] = probabilities.dims();
        let chosen = ids(&routes.experts, &probabilities.device()).reshape([tokens, self.per_token]);
        let chosen = probabilities.gather(1, chosen);
        if self.is_normalised {
            let sum = chosen.clone().sum_dim(1); // [tokens, 1]
            chosen / sum
        } else {
            chosen
        }
    }

    /// The outputs of the experts, one after the other, `[routed, hidden]`.
    fn outputs(&self, x: &Tensor<2>, routes: &Routes) -> Tensor<2> {
        let (device, [_, hidden]) = (x.device(), x.dims());
        let groups = self.experts.iter().zip(&routes.tokens);
        let outputs = groups
            .filter(|(_, tokens)| !tokens.is_empty())
            .map(|(expert, tokens)| {
                let input = fused::select_rows(x.clone(), ids(tokens, &device));
                let output = expert.forward(input.reshape([1, tokens.len(), hidden]));
                output.reshape([tokens.len(), hidden])
            });
        Tensor::cat(outputs.collect(), 0)
    }

    /// Whether the weights of the experts are trained on a device.
    fn trains(&self, device: &Device) -> bool {
        let weight = |expert: &Mlp| expert.down_proj.weight.parameter().cloned();
        let is_trained = |expert: &Mlp| weight(expert).is_some_and(|weight| weight.is_require_grad());
        device.is_autodiff() && self.experts.iter().any(is_trained)
    }
}

/// The experts of each token, and the tokens of each expert.
#[derive(Debug, PartialEq, Eq)]
struct Routes {
    /// The experts of each token in increasing order, `tokens · per_token` indices.
    experts: Vec<usize>,
    /// For each expert, the indices of its tokens, in increasing order.
    tokens: Vec<Vec<usize>>,
    /// For each index in `experts`, the row of its output, if the outputs of the experts are one after the other.
    rows: Vec<usize>,
}

impl Routes {
    /// Chooses the experts with the largest probabilities, of equal ones the first; `PyTorch` does not say which of them
    /// it takes.
    ///
    /// In training, an expert without a token gets the first one, and its output is not used: so its weights have a
    /// gradient, which is 0, as in transformers. Weight decay and moments then apply to them.
    ///
    /// # Shapes
    /// - `probabilities`: `[tokens, experts]`
    fn choose(probabilities: &Tensor<2>, per_token: usize, trains: bool) -> Self {
        let [count, experts] = probabilities.dims();
        let values: Vec<f32> = probabilities.clone().detach().into_data().iter().collect();
        let mut tokens = vec![vec![]; experts];
        let mut chosen = Vec::with_capacity(count * per_token);
        let mut order: Vec<usize> = Vec::with_capacity(experts);
        for (token, row) in values.chunks(experts).enumerate() {
            order.clear();
            order.extend(0..experts);
            // The sort is stable: equal ones stay in their order.
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let start = chosen.len();
            chosen.extend_from_slice(&order[..per_token]);
            chosen[start..].sort_unstable();
            for &expert in &chosen[start..] {
                tokens[expert].push(token);
            }
        }
        if trains {
            for tokens in tokens.iter_mut().filter(|tokens| tokens.is_empty()) {
                tokens.push(0);
            }
        }
        let rows = rows(&chosen, &tokens);
        Self {
            experts: chosen,
            tokens,
            rows,
        }
    }
}

/// For each index in `chosen`, its row in the outputs: the experts are one after the other, each with its tokens in
/// order.
fn rows(chosen: &[usize], tokens: &[Vec<usize>]) -> Vec<usize> {
    let mut next: Vec<usize> = tokens
        .iter()
        .scan(0, |start, tokens| {
            let own = *start;
            *start += tokens.len();
            Some(own)
        })
        .collect();
    let mut row = |&expert: &usize| {
        next[expert] += 1;
        next[expert] - 1
    };
    chosen.iter().map(&mut row).collect()
}

/// The softmax of every row. A backend's own softmax may round differently with and without autodiff, and recomputed
/// gradients would have other bits.
///
/// # Shapes
/// - `logits`, output: `[tokens, experts]`
fn softmax(logits: Tensor<2>) -> Tensor<2> {
    let largest = logits.clone().detach().max_dim(1); // [tokens, 1]
    let exponentials = (logits - largest).exp();
    exponentials.clone() / exponentials.sum_dim(1)
}

/// Indices as a tensor.
fn ids(indices: &[usize], device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
    let count = indices.len();
    Tensor::from_data(TensorData::new(indices, [count]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_chosen_and_of_equal_ones_the_first() {
        let device = Device::default();
        let probabilities =
            Tensor::from_data([[0.1, 0.4, 0.1, 0.4], [0.25; 4], [0.0, 0.1, 0.2, 0.7]], &device);
        let routes = Routes::choose(&probabilities, 2, false);
        assert_eq!(routes.experts, [1, 3, 0, 1, 2, 3]);
        assert_eq!(routes.tokens, [vec![1], vec![0, 1], vec![2], vec![0, 2]]);
        assert_eq!(routes.rows, [1, 4, 0, 2, 3, 5]);
    }

    #[test]
    fn an_expert_without_a_token_gets_one_in_training_only() {
        let device = Device::default();
        let probabilities = Tensor::from_data([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]], &device);
        let idle = Routes::choose(&probabilities, 1, false);
        assert_eq!(
            (idle.tokens, idle.rows),
            (vec![vec![], vec![], vec![0, 1]], vec![0, 1])
        );
        let trained = Routes::choose(&probabilities, 1, true);
        assert_eq!(
            (trained.tokens, trained.rows),
            (vec![vec![0], vec![0], vec![0, 1]], vec![2, 3])
        );
    }
}
