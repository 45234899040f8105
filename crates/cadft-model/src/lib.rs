//! Decoder-only transformers on Burn: Hugging Face checkpoints in and out, adapters, GGUF in and out, generation.
//!
//! All that is public is for users, and changes as semantic versions say; but [`fused`] is for the other crates of cadft, and
//! any version may change it. The extension of Burn's backends is private.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `config.json`: parsing, refusals, the original object |
//! | [`decoder`] | [`CausalLm`], the one decoder forward for training, prefill and decode |
//! | [`parameters`] | parameter names, ids and shapes; which ones decay |
//! | [`adapter`] | LoRA and DoRA: attach, train, merge; PEFT directories in and out |
//! | [`cache`] | [`KvCache`] |
//! | [`checkpoint`] | [`checkpoint::load`] and [`checkpoint::save`] of Hugging Face directories |
//! | [`flops`] | operations per token |
//! | [`fused`] | the operations of a block: hand-written on Flex, portable elsewhere |
//! | [`gguf`] | [`gguf::import_gguf`] and [`gguf::export_gguf`]: GGUF files from and to Hugging Face directories |
//! | [`generate`] | batched generation: greedy or nucleus |
//!
//! Shapes are written `[batch, seq, hidden]`; `heads`, `kv_heads`, `head_dim` and `vocab` are used as in
//! `config.json`. Module fields carry the names of the Hugging Face weights, so names map by identity.

pub mod adapter;
pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod decoder;
mod error;
mod file;
pub mod flops;
pub mod fused;
pub mod generate;
pub mod gguf;
mod json;
pub mod parameters;
mod shown;

pub use adapter::{AdapterConfig, AdapterKind, AdapterScaling, TargetModules};
pub use cache::KvCache;
pub use cadft_files::{Action, Hint, with_hints};
pub use checkpoint::{Checkpoint, Dtype, SaveOptions};
pub use config::{ModelConfig, Positions, RopeScaling};
pub use decoder::{CausalLm, Packing};
pub use error::ModelError;
pub use generate::{Finish, GenerateOptions, Generated, Request, Sampling};
