//! Properties of the data crate through its public interface.

mod batches;
mod converting;
mod fixture;
mod formats;
mod interchange;
mod malformed;
mod masks;
mod mutations;
mod reading;
mod rewriting_templates;
mod sources;
mod statistics;
mod templates;
mod tokenizers;
