//! Rows, conversations, chat templates, tokens, loss masks and batches for supervised fine-tuning.
//!
//! All that is public is for users, and changes as semantic versions say. The modules are private: what is promised is
//! named here. The files of the cache are internal, and made anew when their format changes.
//!
//! Plain vectors in and out: this crate does not know about tensors.
//!
//! ```text
//! source.rs     files, directories, globs and mixtures   (source/: which files, splits, weights)
//! read.rs       a file -> records                        (read/: JSON Lines, JSON, CSV, Parquet, gzip, Zstandard)
//! exact.rs      JSON whose integers are not rounded      shown.rs: names and lists in messages, cut short
//! format.rs     a record -> Row                          (format/: a file a format; row.rs: Row, Content, Message)
//! convert.rs    rows -> another format and kind of file   (convert/)
//! corrupt.rs    rows -> the same with planted noise
//! template.rs   messages -> the text the model sees      (Hugging Face chat templates)
//! tokenizer.rs  text <-> ids, stop tokens, BOS           (a Hugging Face tokenizer directory)
//! tokenize.rs   Row -> Example: ids and a loss mask      (tokenize/spans.rs: which text is trained)
//! samples.rs    Examples in memory or in a mapped file   (cache.rs: which file; cache/: its format and name)
//! order.rs      which example comes when in an epoch
//! batch.rs      Examples -> padded or packed micro-batches with their targets
//! stats.rs      lengths, truncation, drops, duplicates, by source
//! inspect.rs    one line a token: what is trained and what is not
//! ```
//!
//! Invariants:
//! - A conversation is rendered once and tokenised once; spans are mapped to tokens by byte offsets.
//! - A loss mask marks *targets*: `loss_mask[t]` is true when token `t` is learned, from token `t - 1`.
//!   The first token of a sequence is never a target.
//! - Padding is known by length, never by token id.

mod batch;
mod cache;
mod convert;
mod corrupt;
mod deal;
mod error;
mod exact;
mod format;
mod inspect;
mod order;
mod read;
mod row;
mod samples;
mod shown;
mod source;
mod stats;
mod table;
mod template;
mod tokenize;
mod tokenizer;

pub use batch::{Batch, BatchOptions, Bucketing, Packing, Target, micro_batch_shapes, micro_batches};
pub use cache::{Cache, CacheKey, load_samples};
pub use cadft_files::{Hint, with_hints};
pub use convert::convert;
pub use corrupt::{Corruption, Noise, corrupt, planted};
pub use deal::deal;
pub use error::{DataError, Problem, RowProblem};
pub use format::{Columns, Format};
pub use inspect::{InspectedToken, inspect};
pub use order::{Order, epoch_order};
pub use read::{parse_file, read_file};
pub use row::{Content, Message, Place, Row};
pub use samples::Samples;
pub use source::{Mixing, Rows, Source, StoppingStrategy, first_rows, read_rows, rows};
pub use stats::{Bar, Dropped, Lengths, SourceStats, Stats, stats};
pub use table::write_parquet;
pub use template::{ChatTemplate, GenerationPrompt, Preset, Rendered, TemplateTime};
pub use tokenize::{
    Dataset, DropReason, DroppedSample, Example, Mask, Origin, Part, Report, SourceReport, TokenizeOptions,
    Truncation, check_rows, prompt_ids, prompt_text, tokenize,
};
pub use tokenizer::{SpecialTokens, Tokenizer, TokenizerFiles};
