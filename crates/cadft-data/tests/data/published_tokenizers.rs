//! Masks with published tokenizers, fetched by `cargo xtask fetch tokenizers`.

use cadft_data::{Preset, Tokenizer, TokenizerFiles};
use serde_json::{Value, json};

use crate::golden::repository;
use crate::published::published;
use crate::spans::Seen;

/// A template for any tokenizer: lines that begin with a role; answers end with the end-of-sequence token.
const LINES: &str = "{% for m in messages %}{{ m.role + ': ' }}{% if m.role == 'assistant' %}{{ m.content }}\
    {{ m.tool_calls | tojson if m.tool_calls }}{{ eos_token }}{% else %}{{ m.content }}{% endif %}{{ '\n' }}{% endfor %}\
    {% if add_generation_prompt %}assistant: {% endif %}";

#[test]
fn published_tokenizers_train_no_text_of_another_message() {
    let (templates, _) = published();
    let entries = std::fs::read_dir(repository("models/tokenizers")).expect("`cargo xtask fetch tokenizers`");
    let mut directories: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    directories.sort();
    assert_eq!(directories.len(), 10);
    let (mut seen, mut count) = (Seen::default(), 0);
    for (index, directory) in directories.into_iter().enumerate() {
        let mut add = |template: &str, tokenizer: &Tokenizer| {
            let name = directory.file_name().unwrap().display();
            seen.add(&format!("{name} with {template}"), tokenizer);
            count += 1;
        };
        let mut files = TokenizerFiles::from_dir(&directory).unwrap();
        // Each template is tested with one of the tokenizers.
        for (template, golden, source) in templates.iter().skip(index).step_by(10) {
            add(template, &golden.tokenizer(source, &files.tokenizer));
        }
        let own = Tokenizer::from_bytes(&files).unwrap();
        if own.chat_template().is_ok() {
            add("its own", &own);
        }
        for preset in Preset::ALL {
            if let Ok(tokenizer) = Tokenizer::from_bytes(&files).unwrap().with_preset(preset) {
                add(preset.name(), &tokenizer);
            }
        }
        let config = files.tokenizer_config.as_deref().unwrap();
        let mut config: Value = serde_json::from_slice(config).unwrap();
        config["chat_template"] = json!(LINES);
        files.tokenizer_config = Some(config.to_string().into_bytes());
        let lines = Tokenizer::from_bytes(&files).unwrap();
        add("lines", &lines);
    }
    assert!(count >= templates.len() + 2 * 10, "{count}");
    seen.assert_sound(count);
}
