//! Rebuilds the tokenizer in a GGUF file as the files of Hugging Face's libraries.

use serde_json::{Map, Value as Json, json};

use super::architecture::Architecture;
use super::file::GgufFile;
use super::pre_tokenizer::PreTokenizer;
use super::sentence_piece;
use super::tokens::{CONTROL, Kind, Splitting, Vocabulary};
use crate::error::ModelError;
use crate::shown::cut;

/// The tokenizer's files, by name.
pub(super) fn files(
    file: &GgufFile,
    architecture: Architecture,
) -> Result<Vec<(&'static str, Json)>, ModelError> {
    let vocabulary = Vocabulary::read(file)?;
    let template = file.text("tokenizer.chat_template")?;
    let added = vocabulary.added_tokens();
    let names = special_names(&vocabulary, template);

    let mut config = Map::new();
    if vocabulary.kind == Kind::ByteLevel {
        config.insert("add_prefix_space".into(), false.into());
    }
    let by_id = added
        .iter()
        .map(|(id, token)| (id.to_string(), token.clone()))
        .collect::<Map<_, _>>();
    config.insert("added_tokens_decoder".into(), by_id.into());
    config.extend(names.clone());
    if let Some(template) = template {
        config.insert("chat_template".into(), template.into());
    }
    config.insert("clean_up_tokenization_spaces".into(), false.into());
    config.insert(
        "model_max_length".into(),
        file.unsigned(&format!("{}.context_length", architecture.name()))?
            .into(),
    );
    // Classes named after a model rebuild its pre-tokenizer, which may differ from `tokenizer.json`.
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());

    let ids = ["bos", "eos", "pad"].into_iter().filter_map(|name| {
        let id = vocabulary.special(name)?;
        Some((format!("{name}_token_id"), Json::from(id)))
    });
    Ok(vec![
        ("tokenizer.json", tokenizer_json(file, &vocabulary, &added)?),
        ("tokenizer_config.json", config.into()),
        ("special_tokens_map.json", names.into()),
        ("generation_config.json", ids.collect::<Map<_, _>>().into()),
    ])
}

/// The special tokens by role. Control tokens that the chat template contains become additional ones.
fn special_names(vocabulary: &Vocabulary<'_>, template: Option<&str>) -> Map<String, Json> {
    let mut names = Map::new();
    let in_template: Vec<_> = vocabulary
        .tokens
        .iter()
        .zip(&vocabulary.kinds)
        .filter(|&(token, &kind)| {
            kind == CONTROL && template.is_some_and(|template| template.contains(token))
        })
        .map(|(token, _)| *token)
        .collect();
    if !in_template.is_empty() {
        names.insert("additional_special_tokens".into(), in_template.into());
    }
    for &(role, id) in &vocabulary.special {
        names.insert(format!("{role}_token"), vocabulary.tokens[id].into());
    }
    names
}

fn tokenizer_json(
    file: &GgufFile,
    vocabulary: &Vocabulary<'_>,
    added: &[(usize, Json)],
) -> Result<Json, ModelError> {
    let splitting = match vocabulary.kind {
        Kind::ByteLevel => byte_level(file)?,
        Kind::SentencePiece => sentence_piece::splitting(file, vocabulary)?,
    };
    let adds_eos = "tokenizer.ggml.add_eos_token";
    if file.flag(adds_eos)? == Some(true) {
        let problem = format!("metadata `{adds_eos}` is `true`; supported: `false`");
        return Err(ModelError::gguf(&file.path, problem));
    }
    let adds_bos = file
        .flag("tokenizer.ggml.add_bos_token")?
        .unwrap_or(splitting.adds_bos);
    let bos = vocabulary.special("bos").filter(|_| adds_bos);
    let post_processor = bos.map(|id| bos_processor(id, vocabulary.tokens[id]));
    let added: Vec<_> = added
        .iter()
        .map(|(id, token)| {
            let mut entry = Map::from_iter([("id".to_owned(), Json::from(*id))]);
            entry.extend(token.as_object().cloned().unwrap_or_default());
            entry
        })
        .collect();
    let vocab: Map<_, _> = vocabulary
        .tokens
        .iter()
        .enumerate()
        .map(|(id, &token)| (token.to_owned(), id.into()))
        .collect();
    if vocab.len() < vocabulary.tokens.len() {
        return Err(ModelError::gguf(
            &file.path,
            "metadata `tokenizer.ggml.tokens` holds a token twice",
        ));
    }
    let falls_back = splitting.falls_back_to_bytes;
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": splitting.normalizer,
        "pre_tokenizer": splitting.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": splitting.decoder,
        "model": {"type": "BPE", "dropout": null, "unk_token": splitting.unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": falls_back, "byte_fallback": falls_back,
            "ignore_merges": splitting.ignores_merges, "vocab": vocab, "merges": splitting.merges}
    }))
}

/// How a file with a byte-level vocabulary splits text.
fn byte_level(file: &GgufFile) -> Result<Splitting, ModelError> {
    let pre = file.required("tokenizer.ggml.pre", file.text("tokenizer.ggml.pre")?)?;
    let merges = file.required("tokenizer.ggml.merges", file.texts("tokenizer.ggml.merges")?)?;
    let pre_tokenizer = PreTokenizer::named(pre).ok_or_else(|| {
        let problem = format!(
            "metadata `tokenizer.ggml.pre` is `{}`; supported: `{}`",
            cut(pre),
            PreTokenizer::names()
        );
        ModelError::gguf(&file.path, problem)
    })?;
    let normalizer = if pre_tokenizer.composes {
        json!({"type": "NFC"})
    } else {
        Json::Null
    };
    Ok(Splitting {
        normalizer,
        pre_tokenizer: pre_tokenizer.json(),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        merges: merges.into(),
        ignores_merges: pre_tokenizer.ignores_merges,
        falls_back_to_bytes: false,
        unknown: None,
        adds_bos: pre_tokenizer.adds_bos,
    })
}

/// A post-processor that puts the beginning-of-sequence token before every text.
fn bos_processor(id: usize, token: &str) -> Json {
    let bos = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let first = json!({"Sequence": {"id": "A", "type_id": 0}});
    let second_bos = json!({"SpecialToken": {"id": token, "type_id": 1}});
    let second = json!({"Sequence": {"id": "B", "type_id": 1}});
    json!({"type": "TemplateProcessing", "single": [bos, first], "pair": [bos, first, second_bos, second],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}})
}
