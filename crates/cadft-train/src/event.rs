//! The events that a run reports to its caller. The trainer prints nothing. The console, `metrics.jsonl`,
//! `samples.jsonl` and the TensorBoard files are made from events, so a callback sees everything that they show.
//!
//! The event of a step is emitted during the next step, before that step's update. Before an evaluation, a checkpoint
//! or the end of the run it is emitted at once. If a callback stops the run, the step of its event is the last one.
//!
//! ```no_run
//! use cadft_train::{Event, Prepared, RunDirectory, config, device, train};
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! # fn main() -> Result<(), cadft_train::TrainError> {
//! let recipe = config::parse("mine", "model.path = 'model'\ndata.train = ['train.jsonl']", &[])?;
//! let prepared = Prepared::new(recipe, &device::parse("flex")?)?;
//! let model = prepared.model()?;
//! let mut directory = RunDirectory::create("runs/mine".as_ref(), &prepared.recipe, "flex")?;
//! let stop = AtomicBool::new(false);
//! let summary = train(&prepared, model, &mut directory, &stop, &mut |event| match event {
//!     Event::Step(metrics) => {
//!         println!("{} of {}: {:.4} nats", metrics.step, prepared.plan.steps, metrics.nll);
//!         // The run saves what it has and ends when somebody sets this.
//!         stop.store(metrics.nll < 0.01, Ordering::Relaxed);
//!     }
//!     Event::Warned { warning, .. } => eprintln!("{} ({})", warning.message, warning.hint),
//!     _ => {} // Events are added over time.
//! })?;
//! println!("{}", summary.model.display());
//! # Ok(())
//! # }
//! ```

use crate::change::Change;
use crate::checkpoint::Best;
use crate::evaluate::{Answers, Evaluation};
use crate::plan::Plan;
use crate::rewrite::RoundSummary;
use crate::samples::StepSamples;
use crate::warning::Warning;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// Everything is read and checked, and training begins.
    Started {
        /// The plan of the run.
        plan: Plan,
    },
    /// The evaluation files were scored.
    Evaluated {
        /// Steps done so far; 0 is before training.
        step: usize,
        /// The result.
        #[serde(flatten)]
        evaluation: Evaluation,
    },
    /// The evaluation files are being scored. Only for callbacks: in no file, and not printed by `--json`.
    Evaluating {
        /// Steps done so far; 0 is before training.
        step: usize,
        /// Samples scored so far.
        done: usize,
        /// All samples.
        total: usize,
    },
    /// Questions are being answered. Only for callbacks: in no file, and not printed by `--json`.
    Answering {
        /// Steps done so far; 0 is before training.
        step: usize,
        /// Tokens generated so far.
        tokens: usize,
    },
    /// A round of rewriting begins. Only for callbacks: in no file, and not printed by `--json`.
    Rewriting {
        /// Steps done so far.
        step: usize,
    },
    /// Training waits for a checkpoint or the model to be written. Only for callbacks: in no file, and not printed by
    /// `--json`.
    Saving {
        /// Steps done so far.
        step: usize,
    },
    /// Questions were answered by generation.
    Answered {
        /// Steps done so far; 0 is before training.
        step: usize,
        /// The result.
        #[serde(flatten)]
        answers: Answers,
    },
    /// The run continues from a checkpoint.
    Resumed {
        /// Steps done so far.
        step: usize,
        /// The checkpoint.
        path: PathBuf,
        /// What has changed since, if `--allow-change` allowed it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        changed: Vec<Change>,
    },
    /// One optimizer step was done.
    Step(StepMetrics),
    /// The samples of a step, on the steps that `log.samples` chooses. It follows the event of that step.
    Samples(StepSamples),
    /// A round of rewriting took place.
    Rewrote {
        /// Steps done so far.
        step: usize,
        /// Its counts.
        #[serde(flatten)]
        round: RoundSummary,
    },
    /// A step was computed, but nothing was updated: something was not finite.
    Skipped {
        /// The step.
        step: usize,
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Ids of the samples of the global batch whose own score is not finite, or of all of them.
        samples: Vec<String>,
        /// How many steps in a row were skipped, with this one.
        in_a_row: usize,
    },
    /// A checkpoint or the final model was written.
    Saved {
        /// Steps done when it was taken.
        step: usize,
        /// Its directory.
        path: PathBuf,
        /// Seconds it took to write.
        write_secs: f64,
        /// Seconds that training waited for it.
        stall_secs: f64,
    },
    /// Something a user should know.
    Warned {
        /// Steps done so far.
        step: usize,
        /// The warning.
        #[serde(flatten)]
        warning: Warning,
    },
    /// The run is over.
    Finished(Summary),
}

/// The line of one step in `metrics.jsonl`; values are of the global batch, before the update.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StepMetrics {
    /// Counted from 1.
    pub step: usize,
    /// Value of the objective, as normalised.
    pub loss: f64,
    /// Mean negative log-likelihood of the supervised tokens, nats; comparable between objectives and with evaluation.
    pub nll: f64,
    /// Name of the objective in force; it changes when `loss.start` ends.
    pub objective: String,
    /// Mean token gate over the supervised tokens.
    pub mean_gate: f64,
    /// Mean divergence from the model that the run began with, nats a supervised token; absent unless the objective has
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_kl: Option<f64>,
    /// Mean sample weight, without the data's `weight`.
    pub mean_weight: f64,
    /// Effective sample size `(Σw)²/Σw²`.
    pub ess: f64,
    /// Mean of the scores, as used for standardising (CADFT-2).
    pub mu: f64,
    /// Their standard deviation, as used for standardising.
    pub sigma: f64,
    /// Largest standardised score.
    pub max_z: f64,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Tokens, padding not counted.
    pub tokens: usize,
    /// Tokens with a loss.
    pub supervised: usize,
    /// Tokens a second: the tokens of the step over the time since the end of the previous step. After a wait, such as
    /// an evaluation, the time is counted from the beginning of the step.
    pub tokens_per_sec: f64,
    /// Largest resident memory of the process so far; absent if the system does not report it.
    pub peak_rss_mib: Option<f64>,
    /// The cost of several ranks; absent for one rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RankMetrics>,
}

/// A step of several ranks, as the first of them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RankMetrics {
    /// Number of ranks.
    pub count: usize,
    /// Seconds since the previous step that the first rank spent on exchanges with the others, including waiting.
    pub wait_secs: f64,
    /// Tokens of the rank that has the most, divided by the mean.
    pub imbalance: f64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// Steps done.
    pub steps: usize,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
    /// Directory of the final model; of the last checkpoint when interrupted.
    pub model: PathBuf,
    /// The best evaluation after a step, by `checkpoint.best`.
    pub best: Option<Best>,
    /// Evaluation before and after training.
    pub evaluation: Option<[Evaluation; 2]>,
    /// Answers before and after training.
    pub answers: Option<[Answers; 2]>,
    /// Seconds of training and evaluation.
    pub elapsed_secs: f64,
}
