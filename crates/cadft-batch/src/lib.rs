//! Tokenised samples, their order in an epoch, and how a global batch is cut into micro-batches and shards.
//!
//! All that is public is for users, and changes as semantic versions say. Plain vectors in and out: this crate does not know
//! about tensors, files or tokenizers. `cadft-data` makes samples of files, and exports all of this under the same names.
//!
//! ```text
//! example.rs  a sample, and where its row was read
//! order.rs    which example comes when in an epoch
//! batch.rs    examples -> padded or packed micro-batches with their targets
//! deal.rs     examples -> shards of about as many tokens each
//! ```

mod batch;
mod deal;
mod example;
mod order;

pub use batch::{Batch, BatchOptions, Bucketing, Packing, Target, micro_batch_shapes, micro_batches};
pub use deal::deal;
pub use example::{Example, Origin};
pub use order::{Order, epoch_order};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
