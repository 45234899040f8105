//! Runs of cadft: a recipe in, a fine-tuned Hugging Face directory out, without a command line.
//!
//! Promised to users, and changed as semantic versions say: the keys of recipes, the files of a run, [`Recipe`], [`Prepared`],
//! [`train`] and the [`Event`]s. The modules are public for the command line, and any version may change the rest of them.
//!
//! ```text
//! config.rs        the recipe: TOML, strict, every problem in one report
//! data.rs          rows to samples, the one way
//! prepare.rs       read and check everything          plan.rs   what the run will do and take, and its warnings
//! trainer.rs       the loop; the step is `cadft-step`
//! evaluate.rs      likelihood and answers             event.rs  what a run reports
//! export.rs        the model for others: Hugging Face or PEFT layout    inputs.rs  what else a run reads
//! resume.rs        continuing from a checkpoint, and what must be as it was    change.rs  what is not
//! dotted.rs        tables by dotted key
//! rewrite.rs       rounds of rewriting, their record, and the rewritten data
//! run_directory.rs what a run leaves behind           run_files.rs  the names of its files    run_model.rs  its model
//! device.rs        devices by name                    warning.rs    what a user should know
//! environment.rs   program and machine                samples.rs, tensorboard.rs   logs beside the metrics
//! memory.rs        memory before a run                exhausted.rs  a device that has none left
//! room.rs          memory before answers              available.rs  what the system can still give
//! ```
//!
//! Randomness enters through seeds in the recipe. The trainer prints nothing: it emits [`Event`]s.

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

/// What an error says beside its message.
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
pub use plan::Plan;
pub use prepare::Prepared;
pub use process::peak_rss_mib;
pub use ranks::train_on_threads;
pub use run_directory::RunDirectory;
pub use run_model::model_of;
pub use samples::StepSamples;
pub use tensorboard::TensorBoard;
pub use trainer::{OnEvent, train, train_on};
pub use warning::Warning;
