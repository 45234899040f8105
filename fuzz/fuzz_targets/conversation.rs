//! The property `conversation` of `src/lib.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cadft_fuzz::check("conversation", bytes));
