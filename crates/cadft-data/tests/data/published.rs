//! Published chat templates, fetched by `cargo xtask fetch templates`, compared with transformers.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::golden::{Compared, Golden, repository};
use crate::spans::Seen;

/// The templates with their names and sources, and SmolLM2's tokenizer.
pub(crate) fn published() -> (Vec<(String, Golden, String)>, Vec<u8>) {
    let file = std::fs::File::open(repository("tests/fixtures/templates/published.json.gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&text).unwrap();
    let model = repository("models/smollm2-135m-instruct");
    let source = |name: &str| {
        if name == "smollm2/smollm2" {
            let config = std::fs::read(model.join("tokenizer_config.json")).unwrap();
            let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            return config["chat_template"].as_str().unwrap().to_owned();
        }
        let file = repository(&format!("models/chat-templates/{name}.jinja"));
        std::fs::read_to_string(file).expect("`cargo xtask fetch templates`")
    };
    let all = golden.into_iter().map(|(name, golden)| {
        let source = source(&name);
        (name, golden, source)
    });
    let tokenizer = std::fs::read(model.join("tokenizer.json")).expect("`cargo xtask fetch smollm2`");
    (all.collect(), tokenizer)
}

#[test]
fn published_templates_give_what_transformers_gives() {
    let (all, tokenizer) = published();
    let mut compared = Compared::default();
    for (name, golden, source) in &all {
        compared.add(name, golden, source, &tokenizer);
    }
    let found = [
        all.len(),
        compared.texts,
        compared.ids,
        compared.masks,
        compared.sound,
        compared.errors,
    ];
    println!("{found:?} {:#?}", compared.refused);
    assert!(compared.differences.is_empty(), "{}", compared.differences);
}

#[test]
fn published_templates_train_no_text_of_another_message() {
    let (all, tokenizer) = published();
    let mut seen = Seen::default();
    for (name, golden, source) in &all {
        seen.add(name, &golden.tokenizer(source, &tokenizer));
    }
    seen.assert_sound(all.len());
}
