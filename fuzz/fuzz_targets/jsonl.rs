//! Any bytes as JSON Lines, a JSON list and CSV: rows or problems, never a panic.

#![no_main]

use cadft_data::parse_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in ["d.jsonl", "d.json", "d.csv"] {
        let _ = parse_file(name, bytes);
    }
});
