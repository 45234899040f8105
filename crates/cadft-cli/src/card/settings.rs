//! The settings of a recipe that may be shown to everybody: numbers, words, and names on the Hub. Paths and texts are
//! left out, whatever their key.

use cadft_train::dotted;
use serde_json::Value;

/// The keys that a card shows, by their beginning. Those of paths, logs and devices are not among them.
const SHOWN: [&str; 14] = [
    "objective",
    "reference.",
    "loss.",
    "optimizer.",
    "schedule.",
    "batch.global",
    "batch.shards",
    "adapter.",
    "rewrite.",
    "model.precision",
    "model.init",
    "data.max-length",
    "data.mask",
    "run.seed",
];

/// Of those, the keys whose values are paths or texts of the user. A value may be a single word: then it looks like a name.
const HIDDEN: [&str; 3] = ["adapter.path", "reference.model", "rewrite.hint"];

/// The settings, by dotted key.
pub(super) fn of(recipe: &Value) -> Vec<(String, String)> {
    (dotted::flatten(recipe).into_iter())
        .filter(|(key, _)| {
            SHOWN.iter().any(|shown| key.starts_with(shown)) && !HIDDEN.contains(&key.as_str())
        })
        .filter_map(|(key, value)| Some((key, text(&value)?)))
        .collect()
}

/// A value as text; `None` if it may be a path or a text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is_on) => Some(is_on.to_string()),
        Value::String(word) => is_word(word).then(|| word.clone()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text).collect();
            texts
                .filter(|texts| !texts.is_empty())
                .map(|texts| texts.join(", "))
        }
        Value::Object(_) | Value::Null => None,
    }
}

/// Whether a text is a word, such as the name of a method or of a layer.
fn is_word(text: &str) -> bool {
    const LONGEST: usize = 40;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=LONGEST).contains(&text.len()) && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_words_are_shown_and_paths_and_texts_are_not() {
        let recipe = json!({
            "optimizer": { "lr": 1e-5, "betas": [0.9, 0.999] },
            "adapter": { "path": "there", "target-modules": ["q_proj", "k_proj"], "x": "C:\\here" },
            "rewrite": { "hint": "Answer:{solution}", "guided": true },
            "reference": { "model": "there", "live": false },
            "data": { "mask": "assistant", "train": "train.jsonl" },
            "run": { "seed": 1, "out": "out" },
            "log": { "samples": 5 },
        });
        let found = of(&recipe);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, text)| (key.as_str(), text.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("adapter.target-modules", "q_proj, k_proj"),
                ("data.mask", "assistant"),
                ("optimizer.betas", "0.9, 0.999"),
                ("optimizer.lr", "0.00001"),
                ("reference.live", "false"),
                ("rewrite.guided", "true"),
                ("run.seed", "1"),
            ]
        );
    }

    #[test]
    fn a_text_or_a_path_of_one_word_is_not_shown_either() {
        let recipe = json!({
            "adapter": { "path": "alice" },
            "reference": { "model": "alice" },
            "rewrite": { "hint": "Think" },
        });
        assert_eq!(of(&recipe), []);
    }
}
