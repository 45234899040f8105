//! SentencePiece's byte-pair encoding, which GGUF files name `llama`.
//!
//! llama.cpp joins the neighbours whose joined text is the token with the highest score. `tokenizer.json` has a ranked list
//! of pairs instead. One follows from the other as long as all pairs that give the same token stand together.

use std::collections::{HashMap, HashSet};

use serde_json::{Value as Json, json};

use super::file::{GgufFile, Value};
use super::tokens::{Splitting, Vocabulary};
use crate::error::ModelError;
use crate::shown::cut;

/// Stands for a space.
const SPACE: &str = "\u{2581}";
/// Longest joined token in bytes, so that an untrusted file cannot ask for all cuts of a huge one. Real ones have less than 100.
const LONGEST: usize = 512;
pub(super) const NORMAL: u64 = 1;
pub(super) const UNKNOWN: u64 = 2;
pub(super) const BYTE: u64 = 6;

/// Whether a token stands for one byte: `<0x00>` to `<0xFF>`.
pub(super) fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && byte_token_of(digits).as_deref() == Some(token))
}

fn byte_token_of(digits: &str) -> Option<String> {
    u8::from_str_radix(digits, 16).ok().map(byte_token)
}

fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// The first token for a byte that a vocabulary has not.
fn missing_byte<'a>(tokens: impl Iterator<Item = &'a str>) -> Option<String> {
    let found: HashSet<&str> = tokens.filter(|token| is_byte(token)).collect();
    (0..=u8::MAX)
        .map(byte_token)
        .find(|token| !found.contains(token.as_str()))
}

/// Why ranked pairs cannot form one of the joined tokens as llama.cpp does. It needs no token for each character.
fn unformed(known: &HashSet<&str>) -> Option<String> {
    if let Some(token) = known.iter().filter(|token| token.len() > LONGEST).min() {
        return Some(format!(
            "has `{}`, which is longer than {LONGEST} bytes",
            cut(token)
        ));
    }
    let token = without_characters(known)?;
    Some(format!("has `{}`, but not all of its characters", cut(token)))
}

/// The first joined token with a character that is no token itself.
fn without_characters<'a>(known: &HashSet<&'a str>) -> Option<&'a str> {
    let is_known = |(at, character): (usize, char), token: &'a str| {
        known.contains(&token[at..at + character.len_utf8()])
    };
    let lacks = |token: &&&'a str| !token.char_indices().all(|character| is_known(character, token));
    known.iter().filter(lacks).min().copied()
}

/// How a file with this vocabulary splits text. The defaults of absent keys are llama.cpp's.
pub(super) fn splitting(file: &GgufFile, vocabulary: &Vocabulary<'_>) -> Result<Splitting, ModelError> {
    const SCORES: &str = "tokenizer.ggml.scores";
    let problem = |problem: String| Err(ModelError::gguf(&file.path, problem));
    if let Some(token) = missing_byte(vocabulary.tokens.iter().copied()) {
        return problem(format!("metadata `tokenizer.ggml.tokens` has no token `{token}`"));
    }
    let scores: Vec<f64> = match file.get(SCORES) {
        Some(Value::List(scores)) => file
            .elements(*scores)
            .filter_map(|score| number(&score))
            .collect(),
        _ => vec![],
    };
    if scores.len() != vocabulary.tokens.len() || scores.iter().any(|score| score.is_nan()) {
        let tokens = vocabulary.tokens.len();
        return problem(format!("metadata `{SCORES}` is not a list of `{tokens}` numbers"));
    }
    let has_prefix = file.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let normalizer = if has_prefix {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, spaces]})
    } else {
        spaces
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if has_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown = vocabulary.special("unk").map(|id| vocabulary.tokens[id]);
    let pieces = pieces(vocabulary);
    let known: HashSet<&str> = pieces.iter().map(|&(_, token)| token).collect();
    if let Some(unformed) = unformed(&known) {
        return problem(format!("metadata `tokenizer.ggml.tokens` {unformed}"));
    }
    Ok(Splitting {
        normalizer,
        pre_tokenizer: Json::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        merges: merges(pieces, &known, &scores).into(),
        ignores_merges: false,
        falls_back_to_bytes: true,
        unknown: unknown.map(str::to_owned),
        adds_bos: true,
    })
}

fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Float(number) => Some(number),
        _ => None,
    }
}

/// The tokens that text is joined to, with their ids.
fn pieces<'a>(vocabulary: &Vocabulary<'a>) -> Vec<(usize, &'a str)> {
    let is_normal = |id: usize| vocabulary.kinds.get(id).is_none_or(|&kind| kind == NORMAL);
    let tokens = vocabulary.tokens.iter().copied().enumerate();
    tokens.filter(|&(id, _)| is_normal(id)).collect()
}

/// The pairs of tokens that form a token, best score first; for one token the longest left part first. This is the order
/// of Hugging Face's converter.
fn merges(mut pieces: Vec<(usize, &str)>, known: &HashSet<&str>, scores: &[f64]) -> Vec<Json> {
    pieces.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]));
    pieces
        .iter()
        .flat_map(|(_, token)| splits(token).rev())
        .filter(|(left, right)| known.contains(left) && known.contains(right))
        .map(|(left, right)| json!([left, right]))
        .collect()
}

/// All ways to cut a token in two, the shortest left part first.
fn splits(token: &str) -> impl DoubleEndedIterator<Item = (&str, &str)> {
    token
        .char_indices()
        .filter(|&(at, _)| at > 0)
        .map(|(at, _)| token.split_at(at))
}

/// What a GGUF file says of a `tokenizer.json` of this kind, besides its tokens.
pub(super) struct Scored {
    /// Every token's score, by id.
    pub(super) scores: Vec<f32>,
    /// Whether a space is put before every text.
    pub(super) has_prefix: bool,
}

/// The scores with which llama.cpp splits text as a `tokenizer.json` does; else all reasons why there are none.
pub(super) fn scored<'a>(
    tokenizer: &Json,
    tokens: &'a [(String, i32)],
    merges: &[String],
) -> Result<Scored, Vec<String>> {
    let mut problems = vec![];
    let model = &tokenizer["model"];
    if model["ignore_merges"] == true {
        problems.push(
            "`ignore_merges` of `tokenizer.json` is `true`; llama.cpp looks up no whole words".to_owned(),
        );
    }
    let has_prefix = has_prefix(tokenizer, &mut problems);
    if let Some(token) = missing_byte(tokens.iter().map(|(token, _)| token.as_str())) {
        problems.push(format!("`tokenizer.json` has no token `{token}`"));
    }
    // Other tokens are found before text is split.
    let normal = |(token, kind): &'a (String, i32)| (*kind == 1).then_some(token.as_str());
    let known: HashSet<&str> = tokens.iter().filter_map(normal).collect();
    if let Some(unformed) = unformed(&known) {
        problems.push(format!("`tokenizer.json` {unformed}"));
        return Err(problems);
    }
    let ranks = ranks(merges, &known, &mut problems);
    let pairs: HashSet<(&str, &str)> = merges.iter().filter_map(|merge| merge.split_once(' ')).collect();
    let lacks = |token: &&&str| {
        splits(token).any(|pair| known.contains(pair.0) && known.contains(pair.1) && !pairs.contains(&pair))
    };
    if let Some(token) = known.iter().filter(lacks).min() {
        problems.push(format!(
            "`tokenizer.json` does not join all parts of the token `{}`; llama.cpp would",
            cut(token)
        ));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let last = ranks.len();
    let score = |(token, _): &(String, i32)| -(*ranks.get(token).unwrap_or(&last) as f32);
    Ok(Scored {
        scores: tokens.iter().map(score).collect(),
        has_prefix,
    })
}

/// The place of every joined token among those that are `known`, in the order of merges.
fn ranks(merges: &[String], known: &HashSet<&str>, problems: &mut Vec<String>) -> HashMap<String, usize> {
    let mut ranks = HashMap::new();
    let mut last = String::new();
    for merge in merges {
        let token = merge.replacen(' ', "", 1);
        if token == last || !known.contains(token.as_str()) {
            continue;
        }
        let next = ranks.len();
        if ranks.insert(token.clone(), next).is_some() {
            problems.push(format!(
                "the merges of `tokenizer.json` that give `{}` do not stand together; llama.cpp has one score for a token",
                cut(&token)
            ));
            return ranks;
        }
        last = token;
    }
    ranks
}

/// Whether a space is put before every text. Spaces must become `▁`, and nothing else may change or split the text.
fn has_prefix(tokenizer: &Json, problems: &mut Vec<String>) -> bool {
    let prepend = json!({"type": "Prepend", "prepend": SPACE});
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let normalizer = &tokenizer["normalizer"];
    let steps = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.clone(),
        None => vec![normalizer.clone()],
    };
    let replaced = [[prepend, spaces.clone()].to_vec(), vec![spaces]];
    let pre_tokenizer = &tokenizer["pre_tokenizer"];
    // After spaces are replaced, there is none to split at.
    let splits_nothing = pre_tokenizer.is_null()
        || (pre_tokenizer["type"] == "Split" && pre_tokenizer["pattern"] == json!({"String": " "}));
    match replaced.iter().position(|form| *form == steps) {
        Some(form) if splits_nothing => return form == 0,
        None if normalizer.is_null() && pre_tokenizer["type"] == "Metaspace" => {
            // The other schemes put no second space before a text that begins with one; llama.cpp does.
            let never = pre_tokenizer["prepend_scheme"] == "never";
            if never && pre_tokenizer["replacement"] == SPACE && pre_tokenizer["split"] == false {
                return false;
            }
        }
        _ => {}
    }
    problems.push(format!(
        "llama.cpp cannot split text as `normalizer` and `pre_tokenizer` of `tokenizer.json` do: `{}` and `{}`",
        cut(&normalizer.to_string()),
        cut(&pre_tokenizer.to_string())
    ));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_has_one_spelling() {
        assert!(is_byte("<0x0A>") && is_byte("<0xFF>"));
        for other in ["<0x0a>", "<0xA>", "<0x+1>", "<0x0AA>", "0x0A", "<0x>"] {
            assert!(!is_byte(other), "{other}");
        }
        let all: Vec<String> = (0..=u8::MAX).map(byte_token).collect();
        assert_eq!(missing_byte(all.iter().map(String::as_str)), None);
        assert_eq!(
            missing_byte(all[1..].iter().map(String::as_str)).as_deref(),
            Some("<0x00>")
        );
    }

    #[test]
    fn a_token_is_cut_between_characters() {
        let cuts: Vec<_> = splits("aé▁").collect();
        assert_eq!(cuts, [("a", "é▁"), ("aé", "▁")]);
    }

    #[test]
    fn merges_of_one_token_must_stand_together() {
        let merges = |all: &[&str]| all.iter().map(|&merge| merge.to_owned()).collect::<Vec<_>>();
        let known = HashSet::from(["th", "the", "ab"]);
        let mut problems = vec![];
        let found = ranks(
            &merges(&["t h", "x y", "th e", "t he", "a b", "y x"]),
            &known,
            &mut problems,
        );
        assert_eq!((found["th"], found["the"], found["ab"]), (0, 1, 2));
        assert!(problems.is_empty());
        ranks(&merges(&["th e", "a b", "t he"]), &known, &mut problems);
        assert!(problems[0].contains("`the`"), "{problems:?}");
    }

    #[test]
    fn spaces_that_llama_cpp_would_put_elsewhere_are_refused() {
        let prefix = |pre_tokenizer: Json, normalizer: Json| {
            let mut problems = vec![];
            let found = has_prefix(
                &json!({"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}),
                &mut problems,
            );
            problems.is_empty().then_some(found)
        };
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
        let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split});
        assert_eq!(prefix(Json::Null, spaces.clone()), Some(false));
        let both =
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, spaces]});
        assert_eq!(prefix(Json::Null, both), Some(true));
        assert_eq!(prefix(metaspace("never", false), Json::Null), Some(false));
        for (scheme, split) in [("first", false), ("always", false), ("never", true)] {
            assert_eq!(prefix(metaspace(scheme, split), Json::Null), None, "{scheme}");
        }
        assert_eq!(prefix(json!({"type": "Whitespace"}), spaces), None);
        assert_eq!(prefix(Json::Null, json!({"type": "NFC"})), None);
    }
}
