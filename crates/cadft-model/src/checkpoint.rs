//! Hugging Face checkpoint directories: `config.json`, safetensors weights, and the files that travel with them.

mod compare;
mod dtype;
mod files;
mod load;
mod report;
mod save;
mod weights;

pub use compare::{TensorDifference, compare};
pub use dtype::Dtype;
pub(crate) use files::MappedFile;
pub use files::hint_for;
pub use load::{Checkpoint, load};
pub use report::{CheckpointReport, ShapeMismatch};
pub use save::{CARRIED_FILES, SaveOptions, save};
pub(crate) use save::{Replacement, carry, fits_f16, write_file};
pub(crate) use weights::{Weight, write_shard, write_weights};
