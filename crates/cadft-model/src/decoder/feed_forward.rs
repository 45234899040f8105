//! The feed-forward block under the name `mlp`: dense, or sparse with experts.

use burn::tensor::Tensor;

use super::linear::Linear;
use super::transparent::transparent;
use super::{Mlp, SparseMlp};
use crate::config::ModelConfig;
use crate::parameters::Parameters;

/// The feed-forward block.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a model has one for each block; a box would be one more step to every weight"
)]
pub enum FeedForward {
    /// One gated unit for all tokens.
    Dense(Mlp),
    /// Experts.
    Sparse(SparseMlp),
}

impl FeedForward {
    /// The feed-forward block of block `index`.
    pub(crate) fn new(config: &ModelConfig, index: usize, make: &mut Parameters<'_>) -> Self {
        let name = format!("model.layers.{index}.mlp");
        match &config.experts {
            Some(experts) if experts.sparse[index] => {
                Self::Sparse(SparseMlp::new(config, experts, &name, make))
            }
            _ => Self::Dense(Mlp::new(config, config.intermediate_size_of(index), &name, make)),
        }
    }

    /// The projections of the gated units, by name below the block; not the router.
    pub(crate) fn linears(&self) -> Vec<(String, &Linear)> {
        match self {
            Self::Dense(mlp) => named("mlp".to_owned(), mlp.linears()).collect(),
            Self::Sparse(mlp) => (mlp.experts.iter().enumerate())
                .flat_map(|(index, expert)| named(expert_name(index), expert.linears()))
                .collect(),
        }
    }

    /// As [`FeedForward::linears`], to change them.
    pub(crate) fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        match self {
            Self::Dense(mlp) => named("mlp".to_owned(), mlp.linears_mut()).collect(),
            Self::Sparse(mlp) => (mlp.experts.iter_mut().enumerate())
                .flat_map(|(index, expert)| named(expert_name(index), expert.linears_mut()))
                .collect(),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Sparse(mlp) => mlp.forward(x),
        }
    }
}

fn expert_name(index: usize) -> String {
    format!("mlp.experts.{index}")
}

fn named<L>(
    prefix: String,
    linears: impl Iterator<Item = (&'static str, L)>,
) -> impl Iterator<Item = (String, L)> {
    linears.map(move |(name, linear)| (format!("{prefix}.{name}"), linear))
}

transparent!(FeedForward { Dense, Sparse });
