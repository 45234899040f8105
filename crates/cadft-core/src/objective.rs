//! The family of objectives: token likelihoods in, detached token gates and sample weights out.
//!
//! ```text
//! loss = Σ_i w_i Σ_t −sg[g_{i,t}] · log p_{i,t} / normaliser                    (OBJ-1)
//! ∂loss/∂logits_{i,t} = w_i · g_{i,t} · (softmax(logits_{i,t}) − onehot(y_t)) / normaliser     (OBJ-2)
//! ```
//!
//! A member is one file that implements [`Objective`], and one line in the lists at the end of this file.
//!
//! The stop-gradient is essential: without it the derivative of `p·log p` has the factor `1 + log p`, which changes
//! sign at `p = 1/e` and pushes unlikely targets further down.

mod asft;
mod cadft;
mod chord_phi;
mod config;
mod deft;
mod dft;
mod eaft;
mod idft;
mod info_sft;
mod iw_sft;
mod kl_sft;
mod nll;
mod power;
mod profit;
mod sed_sft;
mod talr;

pub use asft::Asft;
pub use cadft::Cadft;
pub use chord_phi::ChordPhi;
pub use deft::Deft;
pub use dft::Dft;
pub use eaft::Eaft;
pub use idft::Idft;
pub use info_sft::InfoSft;
pub use iw_sft::IwSft;
pub use kl_sft::KlSft;
pub use nll::Nll;
pub use power::Power;
pub use profit::Profit;
pub use sed_sft::SedSft;
pub use talr::Talr;

use crate::compatibility::{Compatibility, Standardiser, Statistics};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use std::fmt::Debug;

/// Statistics of the supervised positions of one micro-batch, off the autodiff graph.
#[derive(Clone, Debug)]
pub struct TokenStats {
    /// Log-likelihood of each target, `[tokens]`, f32.
    pub log_probs: Tensor<1>,
    /// The statistic that [`Objective::statistic`] requests, `[tokens]`, f32.
    pub statistic: Option<Tensor<1>>,
    /// The median of the scores of the global batch (CADFT-1), if [`Objective::looks_at_median`] requests it.
    pub median_score: Option<f64>,
}

impl TokenStats {
    /// Token statistics that hold only log-likelihoods, detached from the autodiff graph.
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
            median_score: None,
        }
    }

    /// The statistic that the objective requested.
    ///
    /// # Panics
    /// If the objective requested no statistic.
    #[must_use]
    pub fn requested(&self) -> Tensor<1> {
        (self.statistic.clone()).expect("the statistic that `Objective::statistic` asks for")
    }

    /// The median of the scores of the global batch, in nats a token.
    ///
    /// # Panics
    /// If the objective did not request the median.
    #[must_use]
    pub fn requested_median(&self) -> f64 {
        self.median_score
            .expect("the median that `Objective::looks_at_median` asks for")
    }
}

/// The inputs of the sample weights of one micro-batch.
#[derive(Clone, Copy, Debug)]
pub struct SampleStats<'a> {
    /// Scores under the model, nats a token (CADFT-1).
    pub scores: &'a [f64],
    /// Mean and deviation of the scores of the global batch.
    pub batch: &'a Standardiser,
    /// Scores of the same samples under the reference model; present if [`Objective::reference`] requests them.
    pub reference: Option<&'a [f64]>,
}

/// How an objective uses the reference model, which is the model at the start of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reference {
    /// It reads the reference's scores: [`SampleStats::reference`].
    Scores,
    /// It penalises divergence: `strength · KL(reference‖model)` of each supervised token is added to the loss.
    Anchor {
        /// Factor of the divergence, at least 0.
        strength: f64,
    },
}

/// A member of the family OBJ-1.
///
/// The step takes a `&dyn Objective`. An objective that no recipe names needs only this trait.
///
/// ```
/// use burn::tensor::Tensor;
/// use cadft_core::{Objective, TokenStats};
///
/// /// Only tokens with a probability above a threshold are trained.
/// #[derive(Debug)]
/// struct Threshold(f64);
///
/// impl Objective for Threshold {
///     fn name(&self) -> &str {
///         "threshold"
///     }
///
///     fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
///         stats.log_probs.clone().greater_elem(self.0.ln()).float()
///     }
/// }
///
/// let log_probs = Tensor::from_data([-0.1, -3.0], &burn::tensor::Device::flex());
/// let gates = Threshold(0.5).token_gates(&TokenStats::detached(&log_probs));
/// assert_eq!(gates.into_data().iter::<f32>().collect::<Vec<_>>(), [1.0, 0.0]);
/// ```
pub trait Objective: Debug + Send + Sync {
    /// The name in metrics, checkpoints and messages. A resumed run compares it with the stored name, so the
    /// computation behind a name must not change.
    fn name(&self) -> &str;

    /// The gates `g_{i,t}` of each supervised position.
    ///
    /// # Shapes
    /// `[tokens]`, like `stats.log_probs`; non-negative; off the autodiff graph.
    fn token_gates(&self, stats: &TokenStats) -> Tensor<1>;

    /// The weights `w_i`, one for each of `samples.scores`; 1 by default.
    ///
    /// This method is called only if the objective declares what its weights depend on: [`Objective::compatibility`],
    /// or [`Reference::Scores`] from [`Objective::reference`]. Otherwise every weight is 1 and no scores are read.
    fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
        vec![1.0; samples.scores.len()]
    }

    /// The compatibility settings, if the sample weights need statistics of the global batch.
    fn compatibility(&self) -> Option<&Compatibility> {
        None
    }

    /// The statistic of the next-token distributions that the gates need, if any: [`TokenStats::statistic`].
    fn statistic(&self) -> Option<Statistic> {
        None
    }

    /// Whether the gates need the median score of the global batch: [`TokenStats::median_score`]. Each step then scores
    /// its samples first.
    fn looks_at_median(&self) -> bool {
        false
    }

    /// How the objective uses the reference model; `None` if it does not.
    fn reference(&self) -> Option<Reference> {
        None
    }

    /// Whether a low mean gate means that the targets are unlikely under the model. A run then warns.
    fn low_gate_means_unlikely(&self) -> bool {
        true
    }
}

/// The loss of OBJ-1 for one micro-batch: `Σ_t −factor_t · gate_t · log p_t`.
///
/// `factors` holds, for each token, its sample's weight divided by the global denominator
/// ([`GlobalCounts::sample_factor`](crate::GlobalCounts::sample_factor)). The losses of the micro-batches add up to the
/// loss of the global batch.
///
/// # Shapes
/// All `[tokens]`. `log_probs` is on the autodiff graph, `gates` and `factors` are not. Output `[1]`.
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

/// The term that [`Reference::Anchor`] adds to the loss of one micro-batch: `Σ_t factor_t · strength · KL_t` (ASFT-1).
///
/// # Shapes
/// `divergence`, on the autodiff graph, and `factors`: `[tokens]`, as in [`family_loss`]. Output `[1]`.
#[must_use]
pub fn anchor_loss(divergence: Tensor<1>, strength: f64, factors: Tensor<1>) -> Tensor<1> {
    family_loss(divergence, factors.full_like(-strength), factors)
}

/// Defines an enum of members. Each variant holds the type of its name, and is named in recipes by that type's `NAME`.
macro_rules! members {
    ($(#[$about:meta])* $enum:ident, $schema:literal, $kind:literal: $($(#[$doc:meta])* $variant:ident,)+) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $enum { $($(#[$doc])* $variant($variant),)+ }

        impl $enum {
            /// The name of every member.
            pub const NAMES: &[&str] = &[$($variant::NAME),+];

            /// The member of that name with its default settings.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($variant::NAME => Some(Self::$variant($variant::default())),)+ _ => None }
            }

            /// The name used in recipes and metrics.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $variant::NAME,)+ }
            }

            fn member(&self) -> &dyn Objective {
                match self { $(Self::$variant(member) => member,)+ }
            }
        }

        impl config::Named for $enum {
            const KIND: &str = $kind;
            const NAMES: &[&str] = Self::NAMES;

            fn from_name(name: &str) -> Option<Self> {
                Self::from_name(name)
            }

            fn read_settings<'de, A: serde::de::MapAccess<'de>>(name: &str, map: &mut A) -> Result<Self, A::Error> {
                match name {
                    $($variant::NAME => map.next_value().map(Self::$variant),)+
                    _ => Err(serde::de::Error::unknown_variant(name, Self::NAMES)),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $enum {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                config::read(deserializer)
            }
        }

        impl schemars::JsonSchema for $enum {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let settings = vec![$(($variant::NAME, generator.subschema_for::<$variant>())),+];
                config::schema::<Self>(settings)
            }
        }

        impl Objective for $enum {
            fn name(&self) -> &str {
                self.name()
            }
            fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
                self.member().token_gates(stats)
            }
            fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
                self.member().sample_weights(samples)
            }
            fn compatibility(&self) -> Option<&Compatibility> {
                self.member().compatibility()
            }
            fn statistic(&self) -> Option<Statistic> {
                self.member().statistic()
            }
            fn looks_at_median(&self) -> bool {
                self.member().looks_at_median()
            }
            fn reference(&self) -> Option<Reference> {
                self.member().reference()
            }
            fn low_gate_means_unlikely(&self) -> bool {
                self.member().low_gate_means_unlikely()
            }
        }
    };
}

members! {
    /// Any member of the family, as recipes name it.
    AnyObjective, "Objective", "objective":
    /// Negative log-likelihood.
    Nll,
    /// Dynamic fine-tuning.
    Dft,
    /// Compatibility-aware dynamic fine-tuning.
    Cadft,
    /// Powers of the probability.
    Power,
    /// Anchored supervised fine-tuning.
    Asft,
    /// Entropy-adaptive fine-tuning.
    Eaft,
    /// Importance-weighted supervised fine-tuning.
    IwSft,
    /// In-distribution fine-tuning.
    Idft,
    /// Dynamic entropy fine-tuning.
    Deft,
    /// Information-aware fine-tuning.
    InfoSft,
    /// The token weight of CHORD.
    ChordPhi,
    /// Likelihood of the tokens that are likely under the model.
    Profit,
    /// Likelihood that encourages diversity if several tokens are plausible.
    SedSft,
    /// Token-adaptive loss reweighting.
    Talr,
    /// Likelihood, or another gate, kept close to the initial model of the run.
    KlSft,
}

members! {
    /// A token gate for CADFT: a member that weighs all samples equally and uses no reference model.
    Gate, "Gate", "token gate":
    /// `g = p`, the paper's.
    Dft,
    /// `g = 1`: sample weights alone. Ours: an ablation, and the practical choice for a base model that gives the
    /// targets low probability.
    Nll,
    /// `g = p^α`.
    Power,
    /// The entropy of the model.
    Eaft,
    /// A power of the probability; the exponent depends on how typical the token is.
    Idft,
    /// A power of the probability; the exponent measures how concentrated the distribution is.
    Deft,
    /// The probability times the distance of its log-odds below a threshold.
    InfoSft,
    /// `g = p(1 − p)`.
    ChordPhi,
    /// 1 if the token is likely, else 0.
    Profit,
    /// Likelihood, reduced if the token is likely although others are plausible.
    SedSft,
    /// A power of the probability; the exponent depends on the scores of the batch.
    Talr,
}

impl AnyObjective {
    /// The same objective, with another source for the statistics of its sample weights, if it has such weights.
    #[must_use]
    pub fn with_statistics(mut self, statistics: Statistics) -> Self {
        if let Self::Cadft(cadft) = &mut self {
            cadft.compatibility.statistics = statistics;
        }
        self
    }
}

impl Default for AnyObjective {
    fn default() -> Self {
        Self::Cadft(Cadft::default())
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::Dft(Dft {})
    }
}
