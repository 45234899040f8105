//! Checkpoints: a Hugging Face model directory with everything that an exact continuation needs.
//!
//! ```text
//! checkpoints/step-000100/
//!   config.json, model.safetensors, tokenizer.json, …   the files that other tools read; for an adapter, its PEFT files
//!   training/state.json              step, running moments, guards, best, lengths of logs, rewriting, settings
//!   training/optimizer.safetensors   NAME.exp_avg, NAME.exp_avg_sq, NAME.step of every trained parameter, in f32 or as
//!                                    `optimizer.moments` keeps them; with several shards
//!                                    optimizer-00001-of-00004.safetensors, …, one for each
//!   training/parameters.safetensors  the trained parameters in f32, if the model's files do not hold exactly these
//!   training/reference.safetensors   what the frozen model of a window says of the tokens of the steps that are left (PSFT-1)
//!   training/manifest.json           size and SHA-256 of every file above; written last
//! ```
//!
//! A checkpoint is written under a temporary name, every file and directory is synchronised, then it is renamed. So a
//! directory with the name `step-NNNNNN` is complete. The manifest detects later damage, by a power failure or a
//! failing disk.

pub(crate) mod durable;
mod error;
mod manifest;
pub(crate) mod parameters;
mod read;
pub(crate) mod rotate;
pub(crate) mod saver;
pub(crate) mod shards;
mod state;
pub mod tensors;
mod write;

pub use error::CheckpointError;
pub use manifest::Manifest;
pub(crate) use manifest::hex;
pub use read::{Restored, newest, open, steps};
pub use state::{Best, DataDigests, GuardState, TrainingState};
pub(crate) use write::{Snapshot, on_host};

/// The `format_version` that this program writes.
pub const FORMAT_VERSION: u32 = 1;
/// The directory in a checkpoint for everything but the model.
const TRAINING: &str = "training";
const STATE: &str = "training/state.json";
const PARAMETERS: &str = "training/parameters.safetensors";
const REFERENCE: &str = "training/reference.safetensors";
const MANIFEST: &str = "training/manifest.json";

/// The name of the checkpoint of `step`.
pub(crate) fn name(step: usize) -> String {
    format!("step-{step:06}")
}
