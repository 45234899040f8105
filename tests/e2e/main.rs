//! The command, end to end.

mod adapter;
mod bench;
mod compare;
mod costs;
mod data;
mod errors;
mod exhausted;
mod frozen;
mod hub;
mod json;
mod memory;
mod metrics;
mod model;
mod moments;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod one_shard;
mod outputs;
mod packed;
mod probe;
mod push;
mod report;
mod rewrite;
mod rows;
mod runs;
mod saved;
mod score;
mod selftest;
mod study;
mod terminal;
mod train;
mod untrusted;
mod writers;
mod wrong_base;

/// The command under test.
const CADFT: &str = env!("CARGO_BIN_EXE_cadft-under-test");
