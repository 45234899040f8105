//! Rows, conversations, chat templates, tokens, loss masks and batches for supervised fine-tuning.
//!
//! All public items are for users and follow semantic versioning. The modules are private; the public API is
//! re-exported here. The files of the cache are internal, and are written again if their format changes.
//!
//! Plain vectors in and out: this crate does not know about tensors. Examples, their order and their batches are those of
//! `cadft-batch`, under the same names.
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
//! order.rs      the order of examples in an epoch
//! batch.rs      Examples -> padded or packed micro-batches with their targets
//! hint.rs       prompts with a hint
//! stats.rs      lengths, truncation, drops, duplicates, by source
//! inspect.rs    one line per token: whether it is trained
//! ```
//!
//! Invariants:
//! - A conversation is rendered once and tokenised once; spans are mapped to tokens by byte offsets.
//! - A loss mask marks *targets*: `loss_mask[t]` is true if token `t` is learned, predicted at token `t - 1`.
//!   The first token of a sequence is never a target.
//! - Padding is recognised by length, never by token id.

mod cache;
mod convert;
mod corrupt;
mod error;
mod exact;
mod format;
mod hint;
mod inspect;
mod read;
mod row;
mod samples;
mod shown;
mod shredded;
mod source;
mod stats;
mod table;
mod template;
mod tokenize;
mod tokenizer;

pub use cache::{Cache, CacheKey, load_samples};
pub use cadft_batch::{
    Batch, BatchOptions, Bucketing, Example, Order, Origin, Packing, Target, deal, epoch_order,
    micro_batch_shapes, micro_batches,
};
pub use cadft_files::{Hint, with_hints};
pub use convert::convert;
pub use corrupt::{Corruption, Noise, corrupt, planted};
pub use error::{DataError, Problem, RowProblem};
pub use format::{Columns, Format};
pub use hint::hinted_prompt_ids;
pub use inspect::{InspectedToken, inspect};
pub use read::{parse_file, read_file};
pub use row::{Content, Message, Place, Row};
pub use samples::Samples;
pub use source::{Mixing, Rows, Source, StoppingStrategy, first_rows, read_rows, rows};
pub use stats::{Bar, Dropped, Lengths, SourceStats, Stats, stats};
pub use table::write_parquet;
pub use template::{ChatTemplate, GenerationPrompt, Preset, Rendered, TemplateTime};
pub use tokenize::{
    Dataset, DropReason, DroppedSample, Mask, Part, Report, SourceReport, TokenizeOptions, Truncation,
    check_rows, prompt_ids, prompt_text, tokenize,
};
pub use tokenizer::{SpecialTokens, Tokenizer, TokenizerFiles};
