//! Decoder-only transformers on Burn: Hugging Face checkpoints in and out, GGUF import, generation.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `config.json`: parsing, refusals, the original object |
//! | [`decoder`] | [`CausalLm`], the one decoder forward for training, prefill and decode |
//! | [`parameters`] | parameter names, ids and shapes; which ones decay |
//! | [`cache`] | [`KvCache`] |
//! | [`checkpoint`] | [`checkpoint::load`] and [`checkpoint::save`] of Hugging Face directories |
//! | [`fused`] | the operations of a block: hand-written on Flex, portable elsewhere |
//! | [`gguf`] | [`gguf::import_gguf`]: GGUF file to Hugging Face directory |
//! | [`generate`] | batched generation: greedy or nucleus |
//!
//! Shapes are written `[batch, seq, hidden]`; `heads`, `kv_heads`, `head_dim` and `vocab` are used as in
//! `config.json`. Module fields carry the names of the Hugging Face weights, so names map by identity.

pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod decoder;
mod error;
pub mod fused;
pub mod generate;
pub mod gguf;
pub mod parameters;

pub use cache::KvCache;
pub use checkpoint::{Checkpoint, Dtype, SaveOptions};
pub use config::{ModelConfig, Positions, RopeScaling};
pub use decoder::{CausalLm, Packing};
pub use error::ModelError;
pub use generate::{Finish, GenerateOptions, Generated, Request, Sampling};
