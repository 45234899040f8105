//! Properties of the data crate through its public interface.

mod batches;
mod cache;
mod converting;
mod directories;
mod fixture;
mod formats;
mod golden;
mod hostile_templates;
mod interchange;
mod jinja;
mod malformed;
mod marks;
mod masks;
mod mutations;
#[cfg(feature = "real")]
mod published;
mod reading;
mod rewriting_templates;
mod row_templates;
mod sources;
mod statistics;
mod templates;
mod tokenizers;
mod truncation;
