//! One optimizer step of cadft: from a batch of tokens to an updated model and the values of the step.
//!
//! The public items are for custom training loops, and follow semantic versioning. The kernels of the optimizer and the
//! state of a step between its passes are private.
//!
//! ```text
//! step.rs       THE page: one optimizer step
//! batch.rs      global batches on the device           forward.rs   likelihoods of a micro-batch
//! weighing.rs   weights of samples                     observe.rs   the values of a step, read when the host waits
//! recompute.rs  backward block by block, if activations are not kept
//! score.rs      likelihood of single samples, of a data set of any size
//! reference.rs  what a frozen model says of single tokens
//! probe.rs      gradients of single samples, without an update
//! ranks.rs  sum.rs                                     one batch on several ranks, the same bits for each number of them
//! optimizer.rs  clip.rs  schedule.rs                   optimizers, clipping by the global norm, learning rate
//! ```
//!
//! A custom loop calls [`step()`] in a `for`; `examples/own_loop.rs` does so on real data:
//!
//! ```
//! use burn::tensor::Device;
//! use cadft_core::{Dft, Normalisation, RunningMoments};
//! use cadft_batch::{Example, Origin};
//! use cadft_model::{CausalLm, ModelConfig};
//! use cadft_step::{Optimizer, OptimizerOptions, GlobalBatch, MicroBatching, StepSettings, StepState, step};
//!
//! let config = ModelConfig::from_json(
//!     r#"{"model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
//!         "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32, "tie_word_embeddings": true}"#,
//! )?;
//! let device = Device::flex().autodiff();
//! let mut model = CausalLm::new(&config, &device, 42);
//! // Two tokens of context and two that are trained.
//! let example = Example {
//!     id: "a".to_owned(),
//!     weight: 1.0,
//!     token_ids: vec![3, 4, 5, 6],
//!     loss_mask: vec![false, false, true, true],
//!     prompt_len: 2,
//!     answer: None,
//!     origin: Origin::default(),
//! };
//! let batch = GlobalBatch::new(&[&example], &MicroBatching::default(), &device);
//! let mut state = StepState::new(Optimizer::new(&OptimizerOptions::default()), RunningMoments::new(0.99));
//! let settings = StepSettings {
//!     objective: &Dft {},
//!     reference: None,
//!     normalisation: Normalisation::TokenMean,
//!     lr: 1e-2,
//!     clip: 1.0,
//! };
//! let mut nll = vec![];
//! for _ in 0..3 {
//!     let outcome;
//!     (model, outcome) = step(model, &batch, &settings, &mut state);
//!     nll.push(outcome.nll_sum);
//! }
//! assert!(nll[2] < nll[0]);
//! # Ok::<(), cadft_model::ModelError>(())
//! ```
//!
//! The crate does no input or output, reads no recipe and prints nothing. Options are plain structs with the defaults
//! of recipes.

mod accumulator;
pub mod batch;
pub mod clip;
pub mod forward;
mod gradients;
mod observe;
pub mod optimizer;
pub mod probe;
pub mod ranks;
mod recompute;
pub mod reference;
pub mod schedule;
pub mod score;
pub mod step;
mod sum;
mod weighing;

pub use batch::{GlobalBatch, MicroBatch, MicroBatching, Sampler};
pub use observe::{Settled, StepOutcome};
pub use optimizer::{Optimizer, OptimizerOptions};
pub use probe::{Coordinates, Probe, ProbedSample, probe};
pub use ranks::Ranks;
pub use reference::token_values;
pub use schedule::{Schedule, ScheduleKind};
pub use score::{SampleScore, score_samples, score_samples_watched};
pub use step::{StepSettings, StepState, step};
