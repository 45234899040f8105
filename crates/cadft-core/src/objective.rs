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
mod members;
mod nll;
mod power;
mod prift;
mod profit;
mod psft;
mod rho;
mod sed_sft;
mod stats;
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
pub use prift::{Prift, PriorSupport};
pub use profit::Profit;
pub use psft::Psft;
pub use rho::Rho;
pub use sed_sft::SedSft;
pub use stats::{Reference, SampleStats, TokenReference, TokenStats};
pub use talr::Talr;

use crate::compatibility::{Compatibility, Statistics};
use crate::linear_likelihood::Statistic;
use burn::tensor::Tensor;
use members::members;
use std::fmt::Debug;

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

    /// What the gates look at of each token under a frozen model: [`TokenStats::reference`].
    fn token_reference(&self) -> Option<TokenReference> {
        None
    }

    /// The share of the tokens of the global batch that the gates choose by their excess loss, the largest first:
    /// [`TokenStats::least_excess`]. Excess is [`TokenReference::LogProb`] less the model's own log-likelihood. A step then scores
    /// its samples first.
    fn top_excess(&self) -> Option<f64> {
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
    /// Gates by what a frozen model finds likely.
    Prift,
    /// Proximal supervised fine-tuning.
    Psft,
    /// Likelihood of the tokens whose excess loss is largest.
    Rho,
}

members! {
    /// A token gate under CADFT's sample weights: a member that weighs every sample by 1 and runs no reference model beside the model.
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
    /// The probability under a frozen model, or 1 where that finds the token likely among others.
    Prift,
    /// The ratio of the probability to what it was, 0 where it has grown too far.
    Psft,
    /// 1 over the share that is chosen where the excess loss is among the largest of the batch, else 0.
    Rho,
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
