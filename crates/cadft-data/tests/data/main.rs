//! Properties of the data crate through its public interface.

mod batches;
mod fixture;
mod masks;
mod reading;
mod rewriting_templates;
mod templates;
mod tokenizers;
