//! Any conversation under any of many templates: what is trained ends with a stop token, and up to that it holds text
//! of one trained turn and of no other message; or the row is refused.

#![no_main]

#[path = "../../crates/cadft-data/tests/data/mixed.rs"]
mod mixed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    mixed::assert_sound_or_refused(bytes);
});
