//! One optimizer step of cadft: rows of tokens in, an updated model and what was seen of it out.
//!
//! All that is public is for those who write a training loop of their own, and changes as semantic versions say. The
//! kernels of the optimizer and what a step holds between its passes are private.
//!
//! ```text
//! step.rs       THE page: one optimizer step
//! batch.rs      global batches on the device           forward.rs   likelihoods of a micro-batch
//! weighing.rs   weights of samples                     observe.rs   the values of a step, read when the host waits
//! recompute.rs  backward block by block, if activations are not kept
//! score.rs      likelihood of single samples, of a data set of any size
//! optimizer.rs  clip.rs  schedule.rs                   AdamW, clipping by the global norm, learning rate
//! ```
//!
//! It does no input or output, reads no recipe and prints nothing. Options are plain structs with the defaults of recipes.

pub mod batch;
pub mod clip;
pub mod forward;
mod observe;
pub mod optimizer;
mod recompute;
pub mod schedule;
pub mod score;
pub mod step;
mod weighing;

pub use batch::{GlobalBatch, MicroBatch, MicroBatching, Sampler};
pub use observe::{Settled, StepOutcome};
pub use optimizer::{AdamW, AdamWOptions};
pub use schedule::{Schedule, ScheduleKind};
pub use score::{SampleScore, score_samples};
pub use step::{StepSettings, StepState, step};
