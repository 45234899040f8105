//! Hugging Face checkpoint directories: `config.json`, safetensors weights, and the files that travel with them.

mod carry;
mod compare;
mod edit;
mod experts;
mod files;
mod load;
mod report;
mod save;
mod tokenizer_class;
mod weights;

pub use crate::dtype::Dtype;
pub(crate) use carry::carry;
pub use carry::{CARRIED_FILES, ChatFormat, has_tokenizer};
pub use compare::{TensorDifference, compare};
pub(crate) use files::MappedFile;
pub use files::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, hint_for};
pub use load::{Checkpoint, load, load_on_base};
pub use report::{CheckpointReport, ShapeMismatch};
pub(crate) use save::{Replacement, fits_f16};
pub use save::{SaveOptions, check_fits, save};
pub use tokenizer_class::keep_tokenizer_class;
pub(crate) use weights::{Weight, write_shard, write_weights};
