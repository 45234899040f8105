//! The command, end to end.

mod errors;
mod score;
mod train;

/// The command under test.
const CADFT: &str = env!("CARGO_BIN_EXE_cadft-under-test");
