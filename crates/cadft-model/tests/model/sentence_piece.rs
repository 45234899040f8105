//! Tokenizers of SentencePiece in GGUF files, against llama.cpp's way to split text.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use cadft_model::gguf::{GgufDtype, export_gguf, import_gguf};
use cadft_model::{CausalLm, Dtype};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::gguf::{Writer, text, tiny_gguf};
use crate::tiny;

const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// Tokens with their kinds, before those of the bytes.
const SPECIAL: [(&str, i32); 5] = [
    ("<unk>", 2),
    ("<s>", CONTROL),
    ("</s>", CONTROL),
    ("  ", USER_DEFINED),
    ("<turn>", USER_DEFINED),
];
/// Joined tokens, best score first, and characters.
const PIECES: [&str; 20] = [
    "th", "▁t", "he", "the", "▁the", "▁▁", "aa", "aaa", "é▁", "ca", "fé", "café", "▁", "t", "h", "e", "a",
    "c", "é", "f",
];

/// A vocabulary with scores, as a file has it.
fn vocabulary() -> Vec<(String, i32, f32)> {
    let special = SPECIAL.map(|(token, kind)| (token.to_owned(), kind, -1000.0));
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 6, 0.0));
    let pieces = PIECES
        .iter()
        .enumerate()
        .map(|(rank, &token)| (token.to_owned(), 1, -(rank as f32)));
    special.into_iter().chain(bytes).chain(pieces).collect()
}

/// A file with this vocabulary; a space is put before a text by default.
fn file() -> Writer {
    let all = vocabulary();
    let model = CausalLm::new(&tiny(json!({"vocab_size": all.len()})), &Device::flex(), 31);
    let mut file = tiny_gguf(&model);
    file.text("tokenizer.ggml.model", "llama");
    file.text("tokenizer.ggml.pre", "default");
    let tokens: Vec<_> = all.iter().map(|(token, _, _)| text(token)).collect();
    file.list("tokenizer.ggml.tokens", 8, &tokens);
    let kinds: Vec<_> = all
        .iter()
        .map(|(_, kind, _)| kind.to_le_bytes().to_vec())
        .collect();
    file.list("tokenizer.ggml.token_type", 5, &kinds);
    scores(
        &mut file,
        &all.iter().map(|&(_, _, score)| score).collect::<Vec<_>>(),
    );
    file.unsigned("tokenizer.ggml.unknown_token_id", 0);
    file.unsigned("tokenizer.ggml.bos_token_id", 1);
    file.unsigned("tokenizer.ggml.eos_token_id", 2);
    file
}

fn scores(file: &mut Writer, scores: &[f32]) {
    let scores: Vec<_> = scores.iter().map(|score| score.to_le_bytes().to_vec()).collect();
    file.list("tokenizer.ggml.scores", 6, &scores);
}

fn import(file: &Writer, parent: &Path) -> Result<PathBuf, String> {
    let (path, out) = (parent.join("model.gguf"), parent.join("imported"));
    file.write(&path);
    import_gguf(&path, &out, Dtype::F16).map_err(|error| error.to_string())?;
    Ok(out)
}

/// llama.cpp's `llm_tokenizer_spm` on a text between special tokens: joins the neighbours with the best score, the leftmost of equals,
/// until none is a token; what is no token then becomes bytes.
fn joined(text: &str, has_prefix: bool, ids: &HashMap<String, (u32, f32)>) -> Vec<u32> {
    let prefix = if has_prefix { "▁" } else { "" };
    let mut symbols: Vec<String> = format!("{prefix}{}", text.replace(' ', "▁"))
        .chars()
        .map(String::from)
        .collect();
    loop {
        let pairs = symbols.windows(2).enumerate();
        let scored = pairs.filter_map(|(at, pair)| Some((at, ids.get(&pair.concat())?.1)));
        let best = scored.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((at, _)) = best else { break };
        let right = symbols.remove(at + 1);
        symbols[at] += &right;
    }
    let bytes = |symbol: &String| -> Vec<u32> {
        match ids.get(symbol) {
            Some(&(id, _)) => vec![id],
            None => symbol
                .bytes()
                .map(|byte| ids[&format!("<0x{byte:02X}>")].0)
                .collect(),
        }
    };
    symbols.iter().flat_map(bytes).collect()
}

/// Splits a text at special tokens, then joins what is between them.
fn expected(text: &str, has_prefix: bool) -> Vec<u32> {
    let all = vocabulary();
    let ids: HashMap<String, (u32, f32)> = all
        .iter()
        .zip(0..)
        .map(|((token, _, score), id)| (token.clone(), (id, *score)))
        .collect();
    let mut found = vec![ids["<s>"].0];
    let mut rest = text;
    while !rest.is_empty() {
        let is_special = |kind: i32| kind == CONTROL || kind == USER_DEFINED;
        let special = all.iter().filter(|(_, kind, _)| is_special(*kind));
        let next = special
            .filter_map(|(token, _, _)| Some((rest.find(token.as_str())?, token)))
            .min();
        let (at, token) = next.map_or((rest.len(), ""), |(at, token)| (at, token.as_str()));
        if at > 0 {
            found.extend(joined(&rest[..at], has_prefix, &ids));
        }
        found.extend(ids.get(token).map(|&(id, _)| id));
        rest = &rest[at + token.len()..];
    }
    found
}

const TEXTS: [&str; 10] = [
    "the café",
    " the theth",
    "aaaaa aaaa aaa aa a",
    "thethe he  the",
    "a    a",
    "<turn>the cat</s> é",
    "né 漢 \u{2581}\u{2581}",
    "tha é the",
    "<unk> a\n",
    "\u{1f30a}",
];

#[test]
fn an_imported_tokenizer_splits_text_as_llama_cpp() {
    for has_prefix in [true, false] {
        let parent = tempfile::tempdir().unwrap();
        let mut file = file();
        file.set("tokenizer.ggml.add_space_prefix", 7, &[u8::from(has_prefix)]);
        let tokenizer =
            Tokenizer::from_file(import(&file, parent.path()).unwrap().join("tokenizer.json")).unwrap();
        for text in TEXTS {
            let encoded = tokenizer.encode(text, true).unwrap();
            assert_eq!(
                encoded.get_ids(),
                expected(text, has_prefix),
                "`{text}`: {:?}",
                encoded.get_tokens()
            );
            // The space that is put after a special token stays.
            if has_prefix && SPECIAL.iter().any(|(token, _)| text.contains(token)) {
                continue;
            }
            let decoded = tokenizer.decode(&encoded.get_ids()[1..], false).unwrap();
            assert_eq!(decoded, text.replace('\u{2581}', " "));
        }
    }
}

#[test]
fn an_exported_tokenizer_comes_back_as_it_was() {
    let parent = tempfile::tempdir().unwrap();
    let directory = import(&file(), parent.path()).unwrap();
    let (out, again) = (parent.path().join("out.gguf"), parent.path().join("again"));
    export_gguf(&directory, &out, GgufDtype::F16).unwrap();
    import_gguf(&out, &again, Dtype::F16).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let read = |directory: &Path| fs::read(directory.join(name)).unwrap();
        assert!(read(&directory) == read(&again), "{name}");
    }
    // Bytes and the unknown token have kinds of their own.
    let bytes = fs::read(&out).unwrap();
    let kinds: Vec<u8> = vocabulary()
        .iter()
        .flat_map(|(_, kind, _)| kind.to_le_bytes())
        .collect();
    assert!(bytes.windows(kinds.len()).any(|window| window == kinds));
}

#[test]
fn a_file_that_llama_cpp_would_read_otherwise_is_refused() {
    let refused = |change: &dyn Fn(&mut Writer), part: &str| {
        let parent = tempfile::tempdir().unwrap();
        let mut file = file();
        change(&mut file);
        let message = import(&file, parent.path()).unwrap_err();
        assert!(message.contains(part), "{message}");
    };
    refused(
        &|file| file.text("tokenizer.ggml.model", "t5"),
        "`tokenizer.ggml.model` is `t5`; supported: `gpt2`, `llama`",
    );
    refused(
        &|file| file.set("tokenizer.ggml.add_eos_token", 7, &[1]),
        "`tokenizer.ggml.add_eos_token` is `true`",
    );
    refused(
        &|file| scores(file, &[0.0; 3]),
        "`tokenizer.ggml.scores` is not a list of `281` numbers",
    );
    refused(
        &|file| scores(file, &[f32::NAN; 281]),
        "`tokenizer.ggml.scores` is not a list of `281` numbers",
    );
    // A file whose token `from` is called otherwise.
    let renamed = |from: &'static str, to: &str| {
        let to = to.to_owned();
        move |file: &mut Writer| {
            let name = |token: &str| {
                if token == from {
                    to.clone()
                } else {
                    token.to_owned()
                }
            };
            let tokens: Vec<_> = vocabulary()
                .iter()
                .map(|(token, _, _)| text(&name(token)))
                .collect();
            file.list("tokenizer.ggml.tokens", 8, &tokens);
        }
    };
    refused(&renamed("<0x41>", "other"), "has no token `<0x41>`");
    refused(&renamed("f", "t"), "has `café`, but not all of its characters");
    refused(
        &renamed("th", &"th".repeat(300)),
        "which is longer than 512 bytes",
    );
}

#[test]
fn a_tokenizer_that_scores_cannot_express_is_refused() {
    let refused = |change: &dyn Fn(&mut Value), part: &str| {
        let parent = tempfile::tempdir().unwrap();
        let directory = import(&file(), parent.path()).unwrap();
        let path = directory.join("tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut tokenizer);
        fs::write(&path, tokenizer.to_string()).unwrap();
        let out = parent.path().join("out.gguf");
        let message = export_gguf(&directory, &out, GgufDtype::F16)
            .unwrap_err()
            .to_string();
        assert!(message.contains(part) && !out.exists(), "{message}");
    };
    fn merges(tokenizer: &mut Value) -> &mut Vec<Value> {
        tokenizer["model"]["merges"].as_array_mut().unwrap()
    }
    let unjoined = |tokenizer: &mut Value| merges(tokenizer).retain(|merge| *merge != json!(["t", "he"]));
    refused(&unjoined, "does not join all parts of the token `the`");
    let apart = |tokenizer: &mut Value| {
        let last = merges(tokenizer)
            .iter()
            .position(|merge| *merge == json!(["t", "he"]))
            .unwrap();
        let moved = merges(tokenizer).remove(last);
        merges(tokenizer).push(moved);
    };
    refused(&apart, "that give `the` do not stand together");
    refused(
        &|tokenizer| tokenizer["model"]["ignore_merges"] = true.into(),
        "`ignore_merges`",
    );
    refused(
        &|tokenizer| tokenizer["pre_tokenizer"] = json!({"type": "Whitespace"}),
        "`pre_tokenizer`",
    );
    refused(
        &|tokenizer| tokenizer["model"]["type"] = "Unigram".into(),
        "`type` of `tokenizer.json` is `\"Unigram\"`",
    );
}
