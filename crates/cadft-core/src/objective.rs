//! The family of objectives: token likelihoods in, detached token gates and sample weights out.
//!
//! ```text
//! loss = Σ_i w_i Σ_t −sg[g_{i,t}] · log p_{i,t} / normaliser                    (OBJ-1)
//! ∂loss/∂logits_{i,t} = w_i · g_{i,t} · (softmax(logits_{i,t}) − onehot(y_t)) / normaliser     (OBJ-2)
//! ```
//!
//! A member is one file that implements [`Objective`] and one line in the list at the end of this one.
//!
//! The stop-gradient is load-bearing: without it the derivative of `p·log p` carries the factor `1 + log p`, which
//! changes sign at `p = 1/e` and pushes unlikely targets further down.

mod asft;
mod cadft;
mod config;
mod deft;
mod dft;
mod eaft;
mod idft;
mod iw_sft;
mod nll;
mod power;

pub use asft::Asft;
pub use cadft::{Cadft, Gate};
pub use deft::Deft;
pub use dft::Dft;
pub use eaft::Eaft;
pub use idft::Idft;
pub use iw_sft::IwSft;
pub use nll::Nll;
pub use power::Power;

use crate::compatibility::{Compatibility, Standardiser};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;

/// Detached statistics of the supervised positions of one micro-batch.
#[derive(Clone, Debug)]
pub struct TokenStats {
    /// Log-likelihood of each target, `[tokens]`, f32, off the autodiff graph.
    pub log_probs: Tensor<1>,
    /// What [`Objective::statistic`] asked of the next-token distribution, `[tokens]`, f32, off the autodiff graph.
    pub statistic: Option<Tensor<1>>,
}

impl TokenStats {
    /// Statistics of log-likelihoods, taken off the autodiff graph if they are on it.
    #[must_use]
    pub fn detached(log_probs: &Tensor<1>) -> Self {
        let log_probs = if log_probs.is_autodiff() {
            log_probs.clone().inner()
        } else {
            log_probs.clone()
        };
        Self {
            log_probs,
            statistic: None,
        }
    }

    /// The statistic, for an objective that asked for one.
    fn asked(&self) -> Tensor<1> {
        (self.statistic.clone()).expect("the statistic that `Objective::statistic` asks for")
    }
}

/// What the weights of the samples of a micro-batch may depend on.
#[derive(Clone, Copy, Debug)]
pub struct SampleStats<'a> {
    /// Scores under the model, nats a token (CADFT-1).
    pub scores: &'a [f64],
    /// The statistics of the scores of the global batch.
    pub batch: &'a Standardiser,
    /// Scores of the same samples under the reference model; present when [`Objective::reference`] asked for them.
    pub reference: Option<&'a [f64]>,
}

/// For what an objective looks at the reference model: the one that the run began with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reference {
    /// For its scores: [`SampleStats::reference`].
    Scores,
    /// To stay near it: `strength · KL(reference‖model)` of each supervised token is added to the loss.
    Anchor {
        /// The factor, at least 0.
        strength: f64,
    },
}

/// A member of the family OBJ-1.
pub trait Objective {
    /// The gates `g_{i,t}` of each supervised position.
    ///
    /// # Shapes
    /// `[tokens]`, like `stats.log_probs`; non-negative; off the autodiff graph.
    fn token_gates(&self, stats: &TokenStats) -> Tensor<1>;

    /// The weights `w_i`, one for each of `samples.scores`; 1 unless the objective says otherwise.
    fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
        vec![1.0; samples.scores.len()]
    }

    /// The compatibility settings of an objective whose sample weights need statistics of the global batch.
    fn compatibility(&self) -> Option<&Compatibility> {
        None
    }

    /// What must be known of the next-token distributions: [`TokenStats::statistic`].
    fn statistic(&self) -> Option<Statistic> {
        None
    }

    /// For what the model is compared with the reference model, if it is.
    fn reference(&self) -> Option<Reference> {
        None
    }
}

/// The loss of OBJ-1 for one micro-batch: `Σ_t −factor_t · gate_t · log p_t`.
///
/// `factors` hold, for each token, its sample's weight over the global denominator
/// ([`GlobalCounts::sample_factor`](crate::GlobalCounts::sample_factor)). The micro-batches' losses add up to the loss of the global batch.
///
/// # Shapes
/// All `[tokens]`; `log_probs` on the autodiff graph, `gates` and `factors` off it; output `[1]`.
#[must_use]
pub fn family_loss(log_probs: Tensor<1>, gates: Tensor<1>, factors: Tensor<1>) -> Tensor<1> {
    let coefficients = (gates * factors).neg();
    let coefficients = if log_probs.is_autodiff() {
        Tensor::from_inner(coefficients)
    } else {
        coefficients
    };
    (log_probs * coefficients).sum()
}

/// What [`Reference::Anchor`] adds to the loss of one micro-batch: `Σ_t factor_t · strength · KL_t` (ASFT-1).
///
/// # Shapes
/// `[tokens]`, `divergence` on the autodiff graph and `factors` as in [`family_loss`]; output `[1]`.
#[must_use]
pub fn anchor_loss(divergence: Tensor<1>, strength: f64, factors: Tensor<1>) -> Tensor<1> {
    family_loss(divergence, factors.full_like(-strength), factors)
}

/// Defines [`AnyObjective`]: one line a member, with the name used in recipes.
macro_rules! members {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Any member of the family, as a recipe names it.
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum AnyObjective { $($(#[$doc])* $variant($variant),)+ }

        impl AnyObjective {
            /// The name of every member.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The member of that name with its default settings.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant($variant::default())),)+ _ => None }
            }

            /// The name used in recipes and metrics.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// Reads the settings of the member of that name.
            fn read_settings<'de, A: serde::de::MapAccess<'de>>(name: &str, map: &mut A) -> Result<Self, A::Error> {
                match name {
                    $($name => map.next_value().map(Self::$variant),)+
                    _ => Err(serde::de::Error::unknown_variant(name, Self::NAMES)),
                }
            }
        }

        impl schemars::JsonSchema for AnyObjective {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                "Objective".into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                config::schema(Self::NAMES, vec![$(($name, generator.subschema_for::<$variant>())),+])
            }
        }

        impl Objective for AnyObjective {
            fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
                match self { $(Self::$variant(member) => member.token_gates(stats),)+ }
            }
            fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
                match self { $(Self::$variant(member) => member.sample_weights(samples),)+ }
            }
            fn compatibility(&self) -> Option<&Compatibility> {
                match self { $(Self::$variant(member) => member.compatibility(),)+ }
            }
            fn statistic(&self) -> Option<Statistic> {
                match self { $(Self::$variant(member) => member.statistic(),)+ }
            }
            fn reference(&self) -> Option<Reference> {
                match self { $(Self::$variant(member) => member.reference(),)+ }
            }
        }
    };
}

members! {
    /// Negative log-likelihood.
    Nll = "nll",
    /// Dynamic fine-tuning.
    Dft = "dft",
    /// Compatibility-aware dynamic fine-tuning.
    Cadft = "cadft",
    /// Powers of the probability.
    Power = "power",
    /// Anchored supervised fine-tuning.
    Asft = "asft",
    /// Entropy-adaptive fine-tuning.
    Eaft = "eaft",
    /// Importance-weighted supervised fine-tuning.
    IwSft = "iw-sft",
    /// In-distribution fine-tuning.
    Idft = "idft",
    /// Dynamic entropy fine-tuning.
    Deft = "deft",
}
