//! The feed-forward block under the name `mlp`: dense, or sparse with experts.
//!
//! Burn's derived modules put the name of an enum's variant into the names of parameters. Here the names are those of
//! the checkpoint, so the implementation is written out.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};

use super::linear::Linear;
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
            _ => Self::Dense(Mlp::new(config, config.intermediate_size, &name, make)),
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

/// Calls the same for either block.
macro_rules! either {
    ($block:expr, $mlp:ident => $value:expr) => {
        match $block {
            FeedForward::Dense($mlp) => $value,
            FeedForward::Sparse($mlp) => $value,
        }
    };
    ($block:expr, $mlp:ident >> $value:expr) => {
        match $block {
            FeedForward::Dense($mlp) => FeedForward::Dense($value),
            FeedForward::Sparse($mlp) => FeedForward::Sparse($value),
        }
    };
}

impl Module for FeedForward {
    fn collect_devices(&self, devices: Devices) -> Devices {
        either!(self, mlp => mlp.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        either!(self, mlp >> mlp.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        either!(self, mlp >> mlp.to_device(device))
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        either!(self, mlp => mlp.visit(visitor));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        either!(self, mlp >> mlp.map(mapper))
    }

    fn valid(&self) -> Self {
        either!(self, mlp >> mlp.valid())
    }

    fn train(self) -> Self {
        either!(self, mlp >> mlp.train())
    }

    fn materialize(self) -> Self {
        either!(self, mlp >> mlp.materialize())
    }
}

impl ModuleDisplayDefault for FeedForward {
    fn content(&self, content: Content) -> Option<Content> {
        either!(self, mlp => ModuleDisplayDefault::content(mlp, content))
    }
}

impl ModuleDisplay for FeedForward {}
