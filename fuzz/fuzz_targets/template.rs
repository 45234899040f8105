//! Any text as a chat template: it renders within its limits or fails, and never panics.

#![no_main]

use cadft_data::{ChatTemplate, GenerationPrompt, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source, &[("bos_token", "<s>".to_owned())]) else {
        return;
    };
    let messages = [Message::new("user", "q"), Message::new("assistant", "a")];
    for prompt in [GenerationPrompt::Add, GenerationPrompt::Omit] {
        let _ = template.render(&messages, &[], prompt);
    }
});
