//! What objectives look at, and what they ask for.

#[cfg(doc)]
use super::Objective;
use crate::compatibility::Standardiser;
use burn::tensor::Tensor;

/// Detached statistics of the supervised positions of one micro-batch.
#[derive(Clone, Debug)]
pub struct TokenStats {
    /// Log-likelihood of each target, `[tokens]`, f32, off the autodiff graph.
    pub log_probs: Tensor<1>,
    /// What [`Objective::statistic`] asked of the next-token distribution, `[tokens]`, f32, off the autodiff graph.
    pub statistic: Option<Tensor<1>>,
    /// The median of the scores of the global batch (CADFT-1), if [`Objective::looks_at_median`] asked for it.
    pub median_score: Option<f64>,
    /// What [`Objective::token_reference`] asked of the frozen model, `[tokens]`, f32, off the autodiff graph.
    pub reference: Option<Tensor<1>>,
    /// The least excess loss that is among the largest of the global batch, nats, if [`Objective::top_excess`] asked for it.
    pub least_excess: Option<f32>,
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
            median_score: None,
            reference: None,
            least_excess: None,
        }
    }

    /// The statistic, for an objective that asked for one.
    ///
    /// # Panics
    /// If the objective asked for none.
    #[must_use]
    pub fn requested(&self) -> Tensor<1> {
        (self.statistic.clone()).expect("the statistic that `Objective::statistic` asks for")
    }

    /// The median of the scores, for an objective that asked for it.
    ///
    /// # Panics
    /// If the objective asked for none.
    #[must_use]
    pub fn requested_median(&self) -> f64 {
        self.median_score
            .expect("the median that `Objective::looks_at_median` asks for")
    }

    /// What the frozen model says of the tokens, for an objective that asked for it.
    ///
    /// # Panics
    /// If the objective asked for nothing.
    #[must_use]
    pub fn requested_reference(&self) -> Tensor<1> {
        (self.reference.clone()).expect("the values that `Objective::token_reference` asks for")
    }

    /// The least excess loss, for an objective that asked for it.
    ///
    /// # Panics
    /// If the objective asked for none.
    #[must_use]
    pub fn requested_excess(&self) -> f32 {
        self.least_excess
            .expect("the excess that `Objective::top_excess` asks for")
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

/// What an objective looks at of each supervised token under a frozen model: [`TokenStats::reference`].
///
/// A number a token, of a sample by itself: it depends neither on the batch nor, but for [`TokenReference::Renewed`], on the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenReference {
    /// `log q`, its log-likelihood in nats.
    LogProb,
    /// The probability of all tokens together that are at most as likely (PRIFT-2).
    MassBelow,
    /// `log q` under the model itself as it was when the last window of steps began (PSFT-1).
    Renewed {
        /// How many steps a window has, at least 1.
        every: usize,
    },
}
