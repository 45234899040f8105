//! `AdamW` with decoupled weight decay on matrices only: norms and biases do not decay.

use crate::config::OptimizerSection;
use burn::module::ParamGroup;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use cadft_model::{CausalLm, parameters};

/// The optimizer and its moments.
pub struct AdamW {
    inner: ModuleOptimizer,
}

impl AdamW {
    /// Fresh moments for the parameters of `model`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the optimizer computes in f32")]
    pub fn new(section: &OptimizerSection, model: &CausalLm) -> Self {
        let config = AdamWConfig::new()
            .with_beta_1(section.betas[0] as f32)
            .with_beta_2(section.betas[1] as f32)
            .with_epsilon(section.eps as f32);
        let decaying = config.clone().with_weight_decay(section.weight_decay as f32);
        let fixed = config.with_weight_decay(0.0);
        let ids = model
            .named_parameters()
            .into_iter()
            .filter(|parameter| !parameters::decays(&parameter.name))
            .map(|parameter| parameter.id)
            .collect();
        let inner = ModuleOptimizer::from(decaying.build()).with_group(
            ParamGroup::from_ids(ids),
            fixed.build(),
            None,
        );
        Self { inner }
    }

    /// One update.
    #[must_use]
    pub fn step(&mut self, lr: f64, model: CausalLm, grads: GradientsParams) -> CausalLm {
        self.inner.step(lr, model, grads)
    }
}
