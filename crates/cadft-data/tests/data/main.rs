//! Properties of the data crate through its public interface.

mod batches;
mod cache;
mod converting;
mod directories;
mod fixture;
mod folders;
mod formats;
mod golden;
mod hints;
mod hostile_files;
mod hostile_templates;
mod interchange;
mod jinja;
mod malformed;
mod marks;
mod masks;
mod mixed;
mod mutations;
#[cfg(feature = "real")]
mod published;
#[cfg(feature = "real")]
mod published_tokenizers;
mod reading;
mod rewriting_templates;
mod row_templates;
mod same_rows;
mod shown;
mod sources;
mod spans;
mod statistics;
mod templates;
mod tokenizers;
mod truncation;
