//! The names of other programs that the page lists are answered with the keys beside them.

use super::Cadft;
use super::book::root;
use std::fs;

/// Names that are no keys of a recipe here: functions, columns, and what `instead_of` answers.
const NO_KEYS: [&str; 18] = [
    "FORCE_TORCHRUN",
    "accelerate",
    "columns",
    "deepspeed",
    "field_instruction",
    "field_output",
    "hub_model_id",
    "interleave_datasets",
    "is_trainable",
    "load_in_4bit",
    "load_in_8bit",
    "bnb_4bit_quant_type",
    "quantization_bit",
    "push_to_hub",
    "resume_from_checkpoint",
    "stage",
    // Tables of the same name are here, too.
    "adapter",
    "optimizer",
];

/// What stands between backticks in a cell, without values: `adapter: lora` is `adapter`.
fn names(cell: &str) -> Vec<&str> {
    let ticked = cell.split('`').skip(1).step_by(2);
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c));
    ticked.filter_map(|name| name.split(is_end).next()).collect()
}

#[test]
fn every_name_on_the_page_is_answered_with_the_key_beside_it() {
    let page = fs::read_to_string(root().join("docs/src/guide/coming-from.md")).expect("the page");
    let rows = page.split("## What is not there").next().expect("a part").lines();
    let rows = rows.filter(|row| row.starts_with("| ") && row.matches(" |").count() == 4);
    let mut expected: Vec<(&str, Vec<&str>)> = vec![];
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let keys = names(cells[0]);
        let is_name = |name: &&str| {
            name.contains('_') || name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let elsewhere = cells[1..].iter().flat_map(|cell| names(cell)).filter(is_name);
        expected.extend(
            elsewhere
                .filter(|name| !NO_KEYS.contains(name) && !name.is_empty() && !name.contains('.'))
                .map(|name| (name, keys.clone())),
        );
    }
    assert!(expected.len() > 100, "{expected:?}");
    let sets: Vec<String> = expected.iter().map(|(name, _)| format!("{name}=1")).collect();
    let mut args = vec!["recipe", "show", "quickstart"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let said = Cadft::new().refusal(&args);
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(name, keys)| {
            let answers = |key: &&str| said.contains(&format!("unknown key `{name}`; did you mean `{key}`?"));
            !keys.iter().any(answers)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{said}");
}
