//! Any bytes as Parquet: rows or problems, never a panic.

#![no_main]

use cadft_data::parse_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_file("d.parquet", bytes);
});
