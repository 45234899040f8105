//! Converts the tokenizer of a Hugging Face directory to the metadata of a GGUF file.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::pre_tokenizer::{self, PreTokenizer};
use super::sentence_piece::{self, BYTE, UNKNOWN, is_byte};
use super::tokens::{CONTROL, USER_DEFINED};
use super::write::Field;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::file;

/// Limit for the size of a template in bytes; no real template is longer.
const MAX_TEMPLATE: u64 = 16 << 20;
const NORMAL: i32 = 1;
const UNUSED: i32 = 5;

type Fields = Vec<(String, Field)>;

/// The metadata of the tokenizer, or all reasons why it cannot be written.
pub(super) fn read(
    directory: &Path,
    config: &ModelConfig,
) -> Result<Result<Fields, Vec<String>>, ModelError> {
    let tokenizer = file::read_object(&directory.join("tokenizer.json"))?;
    let settings = match directory.join("tokenizer_config.json") {
        path if path.exists() => file::read_object(&path)?,
        _ => Map::new(),
    };
    let template = match directory.join("chat_template.jinja") {
        path if path.exists() => {
            let text = file::read(&path, MAX_TEMPLATE)?;
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        _ => settings
            .get("chat_template")
            .and_then(Json::as_str)
            .map(str::to_owned),
    };
    Ok(fields(&tokenizer, &settings, template, config))
}

fn fields(
    tokenizer: &Map<String, Json>,
    settings: &Map<String, Json>,
    template: Option<String>,
    config: &ModelConfig,
) -> Result<Fields, Vec<String>> {
    let mut problems = vec![];
    let json = Json::Object(tokenizer.clone());
    let model = &json["model"];
    let mut tokens = tokens(&json, config.vocab_size, &mut problems);
    let merges = merges(model);
    let is_sentence_piece = model["byte_fallback"] == true;
    if is_sentence_piece {
        sentence_piece_kinds(&mut tokens, model["unk_token"].as_str());
    }
    let own = if model["type"] != "BPE" {
        Err(vec![format!(
            "`type` of `tokenizer.json` is `{}`; supported: `BPE`",
            model["type"]
        )])
    } else if is_sentence_piece {
        sentence_piece::scored(&json, &tokens, &merges).map(sentence_piece_fields)
    } else {
        byte_level_fields(&json, merges)
    };
    let own = own.unwrap_or_else(|found| {
        problems.extend(found);
        vec![]
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let id_of = |text: &str| tokens.iter().position(|(token, _)| token == text);
    let mut fields = vec![
        (
            "tokenizer.ggml.tokens",
            Field::Texts(tokens.iter().map(|(token, _)| token.clone()).collect()),
        ),
        (
            "tokenizer.ggml.token_type",
            Field::I32s(tokens.iter().map(|(_, kind)| *kind).collect()),
        ),
    ];
    fields.extend(own);
    for (key, role) in [
        ("tokenizer.ggml.bos_token_id", "bos_token"),
        ("tokenizer.ggml.eos_token_id", "eos_token"),
        ("tokenizer.ggml.padding_token_id", "pad_token"),
        ("tokenizer.ggml.unknown_token_id", "unk_token"),
    ] {
        let text = settings
            .get(role)
            .and_then(|token| token["content"].as_str().or(token.as_str()));
        if let Some(id) = text.and_then(id_of) {
            fields.push((key, Field::U32(u32::try_from(id).unwrap_or(u32::MAX))));
        }
    }
    fields.push((
        "tokenizer.ggml.add_bos_token",
        Field::Bool(adds_bos(&json, settings)),
    ));
    if let Some(template) = template {
        fields.push(("tokenizer.chat_template", Field::Text(template)));
    }
    Ok(fields
        .into_iter()
        .map(|(key, field)| (key.to_owned(), field))
        .collect())
}

/// What only files with a byte-level vocabulary have.
fn byte_level_fields(
    tokenizer: &Json,
    merges: Vec<String>,
) -> Result<Vec<(&'static str, Field)>, Vec<String>> {
    let Some(pre) = pre_tokenizer_name(tokenizer) else {
        let names = PreTokenizer::names();
        return Err(vec![format!(
            "the pre-tokenizer of `tokenizer.json` is none of `{names}`"
        )]);
    };
    Ok(vec![
        ("tokenizer.ggml.model", Field::Text("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Field::Text(pre.to_owned())),
        ("tokenizer.ggml.merges", Field::Texts(merges)),
    ])
}

/// What only files with a SentencePiece vocabulary have.
fn sentence_piece_fields(scored: sentence_piece::Scored) -> Vec<(&'static str, Field)> {
    vec![
        ("tokenizer.ggml.model", Field::Text("llama".to_owned())),
        ("tokenizer.ggml.pre", Field::Text("default".to_owned())),
        ("tokenizer.ggml.scores", Field::F32s(scored.scores)),
        ("tokenizer.ggml.add_space_prefix", Field::Bool(scored.has_prefix)),
    ]
}

/// Marks the tokens of bytes and of what is unknown. Tokens that a user added have spaces as they are, as llama.cpp looks
/// for them in the text itself.
fn sentence_piece_kinds(tokens: &mut [(String, i32)], unknown: Option<&str>) {
    let number = |kind: u64| i32::try_from(kind).unwrap_or(NORMAL);
    for (token, kind) in tokens {
        if *kind == NORMAL && is_byte(token) {
            *kind = number(BYTE);
        } else if *kind == NORMAL && Some(token.as_str()) == unknown {
            *kind = number(UNKNOWN);
        } else if *kind == number(USER_DEFINED) {
            *token = token.replace('\u{2581}', " ");
        }
    }
}

/// llama.cpp's name of the pre-tokenizer. Some names differ only in whether whole words are looked up first.
fn pre_tokenizer_name(tokenizer: &Json) -> Option<&'static str> {
    let own = essence(&tokenizer["pre_tokenizer"]);
    let looks_up_words = tokenizer["model"]["ignore_merges"] == true;
    let alike: Vec<_> = pre_tokenizer::ALL
        .iter()
        .filter(|known| essence(&known.json()) == own)
        .collect();
    let exact = |known: &&&PreTokenizer| known.ignores_merges == looks_up_words;
    alike.iter().find(exact).or(alike.first()).map(|known| known.name)
}

/// Whether the beginning-of-sequence token is put before every text.
fn adds_bos(tokenizer: &Json, settings: &Map<String, Json>) -> bool {
    let bos = settings
        .get("bos_token")
        .and_then(|token| token["content"].as_str().or(token.as_str()));
    bos.is_some_and(|bos| {
        tokenizer["post_processor"]
            .to_string()
            .contains(&format!("\"{bos}\""))
    })
}

/// Every token and its kind, by id. Unused ids get placeholders.
fn tokens(tokenizer: &Json, vocab_size: usize, problems: &mut Vec<String>) -> Vec<(String, i32)> {
    let mut by_id: BTreeMap<usize, (String, i32)> = BTreeMap::new();
    let id = |value: &Json| value.as_u64().and_then(|id| usize::try_from(id).ok());
    for (token, value) in tokenizer["model"]["vocab"].as_object().into_iter().flatten() {
        if let Some(id) = id(value) {
            by_id.insert(id, (token.clone(), NORMAL));
        }
    }
    for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true {
            CONTROL
        } else {
            USER_DEFINED
        };
        if let (Some(id), Some(token)) = (id(&added["id"]), added["content"].as_str()) {
            by_id.insert(id, (token.to_owned(), i32::try_from(kind).unwrap_or(NORMAL)));
        }
    }
    if let Some((&last, _)) = by_id.last_key_value()
        && last >= vocab_size
    {
        problems.push(format!(
            "token id `{last}` is beyond the model's vocabulary of `{vocab_size}`"
        ));
    }
    (0..vocab_size)
        .map(|id| {
            by_id
                .remove(&id)
                .unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED))
        })
        .collect()
}

/// Merges in the form `a b`; `tokenizer.json` may also have pairs.
fn merges(model: &Json) -> Vec<String> {
    let parts = |pair: &Json| match pair {
        Json::Array(parts) => {
            let parts: Vec<_> = parts.iter().filter_map(Json::as_str).collect();
            Some(parts.join(" "))
        }
        other => other.as_str().map(str::to_owned),
    };
    model["merges"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(parts)
        .collect()
}

/// The parts of a pre-tokenizer that affect where text is split.
fn essence(json: &Json) -> Vec<String> {
    match json["type"].as_str() {
        Some("Sequence") => json["pretokenizers"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(essence)
            .collect(),
        Some("Split") => vec![format!(
            "split {} {} {}",
            json["pattern"], json["behavior"], json["invert"]
        )],
        Some("Digits") => vec![format!("digits {}", json["individual_digits"])],
        Some("ByteLevel") => {
            let splits = json.get("use_regex").and_then(Json::as_bool).unwrap_or(true);
            vec![format!("bytes {} {splits}", json["add_prefix_space"])]
        }
        _ => vec![json.to_string()],
    }
}
