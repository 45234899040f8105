//! Published chat templates, fetched by `cargo xtask fetch templates`, against transformers.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::golden::{Compared, Golden, repository};

#[test]
fn published_templates_give_what_transformers_gives() {
    let file = std::fs::File::open(repository("tests/fixtures/templates/published.json.gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&text).unwrap();
    let model = repository("models/smollm2-135m-instruct");
    let tokenizer = std::fs::read(model.join("tokenizer.json")).expect("`cargo xtask fetch smollm2`");
    let mut compared = Compared::default();
    for (name, golden) in &golden {
        let source = if name == "smollm2/smollm2" {
            let config = std::fs::read(model.join("tokenizer_config.json")).unwrap();
            let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            config["chat_template"].as_str().unwrap().to_owned()
        } else {
            let file = repository(&format!("models/chat-templates/{name}.jinja"));
            std::fs::read_to_string(file).expect("`cargo xtask fetch templates`")
        };
        compared.add(name, golden, &source, &tokenizer);
    }
    let found = [
        golden.len(),
        compared.texts,
        compared.ids,
        compared.masks,
        compared.errors,
    ];
    println!("{found:?} {:#?}", compared.refused);
    assert!(compared.differences.is_empty(), "{}", compared.differences);
}
