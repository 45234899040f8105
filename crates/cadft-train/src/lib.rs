//! Runs of cadft without a command line: from a recipe to a fine-tuned Hugging Face directory.
//!
//! The stable interface, under semantic versioning, consists of the keys of recipes, the files of a run, [`Recipe`],
//! [`Prepared`], [`train`] and the [`Event`]s. The rest of the modules is public for the command line only, and any
//! version may change it.
//!
//! ```text
//! config.rs        the recipe: strict TOML, all problems in one report
//! data.rs          rows to samples
//! prepare.rs       read and check everything          plan.rs   what the run will do and need, and its warnings
//! trainer.rs       the loop; the step is `cadft-step`
//! frozen.rs        what a frozen model says of tokens
//! evaluate.rs      likelihood and answers             event.rs  the events that a run reports
//! export.rs        writes the model: Hugging Face or PEFT layout    inputs.rs  inputs besides recipe and data
//! resume.rs        continues from a checkpoint, and compares the run with it    change.rs  a difference
//! dotted.rs        tables by dotted key
//! rewrite.rs       rounds of rewriting, their record, and the rewritten data
//! run_directory.rs the files of a run                 run_files.rs  their names    run_model.rs  the model of a run
//! device.rs        devices by name                    warning.rs    warnings for users
//! environment.rs   program and machine                samples.rs, tensorboard.rs   logs besides the metrics
//! memory.rs        checks memory before a run         exhausted.rs  detects exhausted device memory
//! room.rs          checks memory before answers       available.rs  memory that the system can still give
//! ```
//!
//! All randomness comes from seeds in the recipe. The trainer prints nothing: it emits [`Event`]s.

mod available;
mod change;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod device;
pub mod dotted;
pub mod environment;
mod error;
pub mod evaluate;
pub mod event;
mod exhausted;
mod export;
mod fit;
mod frozen;
mod inputs;
pub mod memory;
pub mod plan;
pub mod prepare;
mod process;
pub mod ranks;
pub mod resume;
pub mod rewrite;
pub mod room;
mod run_directory;
pub mod run_files;
mod run_model;
pub mod samples;
mod sharing;
pub mod tensorboard;
mod trainer;
mod warning;

/// Hints of errors, besides their messages.
pub use available::MemoryLimit;
pub use cadft_files::{Hint, with_hints};
/// Models and data sets by name on the Hugging Face Hub.
pub use cadft_hub as hub;
pub use config::Recipe;
pub use data::{adapted_tokenizer, cache_directory};
pub use environment::Environment;
pub use error::{ConfigProblem, TrainError};
pub use event::{Event, StepMetrics, Summary};
pub use exhausted::{Exhausted, ExhaustedRun};
pub use inputs::Inputs;
pub use plan::{Plan, Rung};
pub use prepare::Prepared;
pub use process::{Usage, peak_rss_mib};
pub use ranks::train_on_threads;
pub use run_directory::RunDirectory;
pub use run_model::{instead_of_model, model_of};
pub use samples::StepSamples;
pub use tensorboard::TensorBoard;
pub use trainer::{OnEvent, train, train_on};
pub use warning::Warning;
