//! Templates render as with Jinja2, configured as in transformers: `python/jinja_golden.py`.

use cadft_data::{ChatTemplate, GenerationPrompt};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fixture::messages;
use crate::golden::repository;

#[derive(Deserialize)]
struct Golden {
    context: Map<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    source: String,
    /// The text that Python renders; `None` if it fails.
    text: Option<String>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(repository("tests/fixtures/templates/jinja.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn templates_render_as_jinja_does() {
    let Golden { context, cases } = golden();
    let mut differences = Vec::new();
    for Case { source, text } in &cases {
        let found = ChatTemplate::new(source, &[]).and_then(|template| {
            let template = template.with_variables(&context);
            template.render(&messages(&[("user", "q")]), &[], GenerationPrompt::Omit)
        });
        match (found, text) {
            (Ok(found), Some(text)) if found == *text => {}
            (Err(_), None) => {}
            (found, text) => differences.push(format!("{source}\n  {text:?}\n  {found:?}")),
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {}:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
}
