//! Decoder-only transformers on Burn: Hugging Face checkpoints in and out, adapters, GGUF in and out, generation.
//!
//! All public items are for users and follow semantic versioning, except [`fused`]: it is for the other crates of
//! cadft, and any version may change it. The extension of Burn's backends is private.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `config.json`: parsing, refusals, the original object |
//! | [`decoder`] | [`CausalLm`], with one forward pass for training, prefill and decoding |
//! | [`parameters`] | names, ids and shapes of parameters; which ones decay |
//! | [`adapter`] | LoRA and DoRA: attach, train, merge; PEFT directories in and out |
//! | [`cache`] | [`KvCache`] |
//! | [`checkpoint`] | [`checkpoint::load`] and [`checkpoint::save`] of Hugging Face directories |
//! | [`flops`] | operations per token |
//! | [`fused`] | the operations of a block: hand-written on Flex, portable elsewhere |
//! | [`gguf`] | [`gguf::import_gguf`] and [`gguf::export_gguf`]: GGUF files from and to Hugging Face directories |
//! | [`generate`] | batched generation: greedy decoding or sampling |
//!
//! The feature `files`, on by default, is what reads and writes checkpoints, adapters and GGUF files. Without it the network,
//! its configuration from text, adapters in memory and generation remain.
//!
//! Shapes are written as `[batch, seq, hidden]`; `heads`, `kv_heads`, `head_dim` and `vocab` have the meaning of
//! `config.json`. The fields of modules have the names of the Hugging Face weights.

#![cfg_attr(
    not(feature = "files"),
    allow(dead_code, reason = "some private parts serve files only")
)]

pub mod adapter;
pub mod cache;
#[cfg(feature = "files")]
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod delta;
mod dtype;
mod error;
#[cfg(feature = "files")]
mod file;
pub mod flops;
pub mod fused;
pub mod generate;
#[cfg(feature = "files")]
pub mod gguf;
mod gradients;
mod json;
pub mod parameters;
mod shown;

pub use adapter::{AdapterConfig, AdapterKind, AdapterScaling, BaseFormat, FrozenBase, TargetModules};
pub use cache::KvCache;
pub use cadft_files::{Action, Hint, with_hints};
#[cfg(feature = "files")]
pub use checkpoint::{Checkpoint, SaveOptions};
pub use config::{ModelConfig, Positions, RopeScaling};
pub use decoder::{CausalLm, Packing};
pub use dtype::Dtype;
pub use error::{Bases, ModelError};
pub use generate::{Finish, GenerateOptions, Generated, Request, Sampling};
pub use gradients::ParamGradients;
