//! The command, end to end.

mod compare;
mod errors;
mod metrics;
mod report;
mod score;
mod train;

/// The command under test.
const CADFT: &str = env!("CARGO_BIN_EXE_cadft-under-test");
