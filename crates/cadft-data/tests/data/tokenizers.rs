//! The settings of a tokenizer directory, and the messages about errors in it.

use std::fs;

use cadft_data::{
    GenerationPrompt, Mask, SpecialTokens, TokenizeOptions, Tokenizer, TokenizerFiles, inspect, parse_file,
    tokenize, with_hints,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{CHATML, Fixture, completion, conversation, example, messages, tokenizer_json};

fn id(tokenizer: &Tokenizer, token: &str) -> u32 {
    tokenizer.encode_plain(token).unwrap()[0]
}

fn error(files: &TokenizerFiles) -> String {
    with_hints(&Tokenizer::from_bytes(files).unwrap_err())
}

#[test]
fn special_tokens_are_strings_or_objects() {
    let mut fixture = Fixture::chatml();
    fixture.config["eos_token"] = json!({"content": "<|im_end|>", "lstrip": false, "special": true});
    let tokenizer = fixture.build();
    assert_eq!(tokenizer.eos_token_id(), Some(id(&tokenizer, "<|im_end|>")));
    assert_eq!(
        tokenizer.token(id(&tokenizer, "<|im_end|>")).as_deref(),
        Some("<|im_end|>")
    );
    assert!(tokenizer.is_special(id(&tokenizer, "<|im_end|>")) && !tokenizer.is_special(0));
    assert_eq!(tokenizer.vocab_size(), 256 + 4 + 8);
}

#[test]
fn every_declared_end_stops() {
    for ids in [json!(256), json!([256, 257])] {
        let fixture = Fixture {
            generation_config: Some(json!({"eos_token_id": ids})),
            ..Fixture::chatml()
        };
        let mut files = fixture.files();
        files.config = Some(br#"{"eos_token_id": 3}"#.to_vec());
        let tokenizer = Tokenizer::from_bytes(&files).unwrap();
        let mut expected = vec![id(&tokenizer, "<|im_end|>"), 256, 3];
        if ids.is_array() {
            expected.insert(2, 257);
        }
        assert_eq!(tokenizer.stop_token_ids(), expected);
    }
}

#[test]
fn a_vocabulary_that_is_not_the_same_every_time_is_refused() {
    let files = Fixture::chatml().files();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed: Value = serde_json::from_slice(&files.tokenizer).unwrap();
        change(&mut changed["model"]);
        error(&TokenizerFiles {
            tokenizer: changed.to_string().into_bytes(),
            ..files.clone()
        })
    };
    let twice = refused(&|model| model["vocab"]["a"] = model["vocab"]["b"].clone());
    assert!(twice.contains("`a` and `b` have the same id"), "{twice}");
    let random = refused(&|model| model["dropout"] = json!(0.1));
    assert!(random.contains("`model.dropout` is `0.1`"), "{random}");
}

/// Python's `json` writes and reads these numbers.
#[test]
fn infinity_in_a_configuration_is_read() {
    let mut files = Fixture::chatml().files();
    files.config = Some(
        br#"{"time_limit": [0.0, Infinity], "note": "a \"NaN\\", "x": -Infinity, "eos_token_id": 3}"#
            .to_vec(),
    );
    let tokenizer = Tokenizer::from_bytes(&files).unwrap();
    assert!(tokenizer.stop_token_ids().contains(&3));
}

#[test]
fn the_token_that_ends_a_turn_stops_even_if_another_one_ends_a_sequence() {
    let tokenizer = Fixture::new("<|endoftext|>", CHATML).build();
    assert_eq!(tokenizer.eos_token_id(), Some(id(&tokenizer, "<|endoftext|>")));
    assert_eq!(
        tokenizer.stop_token_ids(),
        [id(&tokenizer, "<|endoftext|>"), id(&tokenizer, "<|im_end|>")]
    );
}

#[test]
fn without_an_eos_token_the_model_configs_name_one() {
    let mut fixture = Fixture {
        generation_config: Some(json!({"eos_token_id": [7, 8]})),
        ..Fixture::chatml()
    };
    fixture.config = json!({});
    assert_eq!(fixture.build().eos_token_id(), Some(7));
    fixture.generation_config = None;
    let tokenizer = fixture.build();
    let error = cadft_data::tokenize(
        &[completion("a", "b")],
        &tokenizer,
        &crate::fixture::options(Mask::Assistant),
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("`tokenizer_config.json: eos_token`: ")
    );
}

#[test]
fn the_post_processor_alone_says_what_stands_around_a_text() {
    let ids = |fixture: &Fixture| fixture.build().encode_with_special("a").unwrap().len();
    let (mut with, mut without) = (Fixture::llama3(), Fixture::chatml());
    assert_eq!((ids(&with), ids(&without)), (2, 1));
    // As in transformers 5, which ignores these keys if there is a `tokenizer.json`.
    with.config["add_bos_token"] = false.into();
    without.config["add_bos_token"] = true.into();
    assert_eq!((ids(&with), ids(&without)), (2, 1));
    assert_eq!(
        Fixture::llama3()
            .build()
            .encode_with_special("<|begin_of_text|>a")
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let mut json = tokenizer_json(&Fixture::chatml());
    json["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                             "pad_type_id": 0, "pad_token": "x"});
    let files = TokenizerFiles {
        tokenizer: json.to_string().into_bytes(),
        ..TokenizerFiles::default()
    };
    assert_eq!(
        Tokenizer::from_bytes(&files)
            .unwrap()
            .encode_plain("abcd")
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn the_template_file_comes_first_then_the_one_named_default() {
    let render = |files: &TokenizerFiles| {
        let tokenizer = Tokenizer::from_bytes(files).unwrap();
        tokenizer
            .render_chat(&messages(&[("user", "x")]), GenerationPrompt::Omit)
            .unwrap()
    };
    let mut fixture = Fixture::chatml();
    fixture.config["chat_template"] =
        json!([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D{{ eos_token }}"}]);
    let mut files = fixture.files();
    assert_eq!(render(&files), "D<|im_end|>");
    files.chat_template = Some(b"F".to_vec());
    assert_eq!(render(&files), "F");
}

#[test]
fn what_is_wrong_with_a_tokenizer_names_file_and_key() {
    let config = |key: &str, value: Value| {
        let mut fixture = Fixture::chatml();
        fixture.config[key] = value;
        error(&fixture.files())
    };
    let generation = |value: Value| {
        error(
            &Fixture {
                generation_config: Some(json!({"eos_token_id": value})),
                ..Fixture::chatml()
            }
            .files(),
        )
    };
    let files = |change: fn(&mut TokenizerFiles)| {
        let mut files = Fixture::chatml().files();
        change(&mut files);
        error(&files)
    };
    for (message, start) in [
        (
            config("eos_token", json!(3)),
            "`tokenizer_config.json: eos_token`: expected a string",
        ),
        (
            config("eos_token", json!({"text": "x"})),
            "`tokenizer_config.json: eos_token`: expected a string",
        ),
        (
            config("eos_token", json!("<nope>")),
            "`tokenizer_config.json: eos_token`: `<nope>` is not in the vocabulary",
        ),
        (
            config("chat_template", json!(1)),
            "`tokenizer_config.json: chat_template`: expected a string",
        ),
        (
            config("chat_template", json!([{"name": "rag", "template": ""}])),
            "`tokenizer_config.json: chat_template`: ",
        ),
        (
            config("chat_template", json!("{% if %}")),
            "`chat_template`: the chat template cannot be parsed",
        ),
        (
            generation(json!("</s>")),
            "`generation_config.json: eos_token_id`: expected a token id",
        ),
        (
            generation(json!([1, -1])),
            "`generation_config.json: eos_token_id`: expected a token id",
        ),
        (
            files(|files| files.tokenizer = b"{".to_vec()),
            "`tokenizer.json`: ",
        ),
        (
            files(|files| files.tokenizer_config = Some(b"[]".to_vec())),
            "`tokenizer_config.json`: ",
        ),
        (
            files(|files| files.config = Some(b"nonsense".to_vec())),
            "`config.json`: ",
        ),
        (
            files(|files| files.chat_template = Some(vec![0xFF])),
            "`chat_template.jinja`: ",
        ),
    ] {
        assert!(message.starts_with(start), "{message}");
        assert!(message.contains("\nhint: "), "{message}");
    }
}

#[test]
fn numbers_that_only_python_writes_are_read() {
    let mut files = Fixture::chatml().files();
    let config = br#"{"name": "\"NaN, \\", "a": [Infinity, -Infinity, NaN], "eos_token_id": 3}"#;
    files.config = Some(config.to_vec());
    let tokenizer = Tokenizer::from_bytes(&files).unwrap();
    assert!(tokenizer.stop_token_ids().contains(&3));
}

#[test]
fn a_key_whose_meaning_is_not_followed_is_refused() {
    for (key, value, start) in [
        (
            "split_special_tokens",
            json!(true),
            "`true` changes how text becomes ids",
        ),
        ("lower_everything", json!(true), "this key is not known"),
        (
            "added_tokens_decoder",
            json!({"7": {"content": "<|im_end|>", "special": true}}),
            "`<|im_end|>` has the id 262",
        ),
    ] {
        let mut fixture = Fixture::chatml();
        fixture.config[key] = value;
        let message = error(&fixture.files());
        assert!(
            message.starts_with(&format!("`tokenizer_config.json: {key}")),
            "{message}"
        );
        assert!(
            message.contains(start) && message.contains("\nhint: "),
            "{message}"
        );
    }
}

#[test]
fn a_directory_is_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
    let missing = with_hints(&Tokenizer::from_dir(directory.path()).unwrap_err());
    assert!(
        missing.contains("tokenizer.json`: no such file\nhint: "),
        "{missing}"
    );
    let files = Fixture::chatml().files();
    write("tokenizer.json", &files.tokenizer);
    let bare = Tokenizer::from_dir(directory.path()).unwrap();
    let no_template = bare.render_chat(&messages(&[("user", "x")]), GenerationPrompt::Add);
    let no_template = with_hints(&no_template.unwrap_err());
    assert!(
        no_template.contains("no chat template") && no_template.contains("`chat_template.jinja`"),
        "{no_template}"
    );
    write("tokenizer_config.json", &files.tokenizer_config.unwrap());
    write("generation_config.json", br#"{"eos_token_id": 5}"#);
    write("config.json", br#"{"eos_token_id": 6}"#);
    write("chat_template.jinja", b"{{ messages[0].content }}<|im_end|>");
    let tokenizer = Tokenizer::from_dir(directory.path()).unwrap();
    assert_eq!(tokenizer.stop_token_ids()[1..], [5, 6]);
    assert_eq!(
        tokenizer
            .render_chat(&messages(&[("user", "x")]), GenerationPrompt::Add)
            .unwrap(),
        "x<|im_end|>"
    );
}

#[test]
fn decoding_keeps_or_skips_special_tokens() {
    let tokenizer = Fixture::chatml().build();
    let ids = tokenizer.encode_plain("hello<|im_end|>").unwrap();
    assert_eq!(
        tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(),
        "hello<|im_end|>"
    );
    assert_eq!(tokenizer.decode(&ids, SpecialTokens::Skip).unwrap(), "hello");
}

#[test]
fn inspection_shows_each_token_once() {
    let tokenizer = Fixture::chatml().build();
    let tokens = inspect(
        &example(&completion("he", "é"), &tokenizer, Mask::Completion),
        &tokenizer,
    );
    let shown: Vec<_> = tokens
        .iter()
        .map(|token| (token.text.as_str(), token.trained, token.special))
        .collect();
    assert_eq!(
        shown,
        [
            ("he", false, false),
            ("", true, false),
            ("é", true, false),
            ("<|im_end|>", true, true)
        ]
    );
}

#[test]
fn a_character_cut_by_truncation_is_shown_as_a_replacement() {
    let tokenizer = Fixture::chatml().build();
    let options = cadft_data::TokenizeOptions::new(4, Mask::All);
    let data = cadft_data::tokenize(&[completion("ab", "🦀")], &tokenizer, &options).unwrap();
    let text: String = inspect(&data.examples[0], &tokenizer)
        .into_iter()
        .map(|token| token.text)
        .collect();
    assert_eq!(text, "ab\u{FFFD}");
}

proptest! {
    #[test]
    fn inspected_pieces_make_up_the_text(question in "\\PC{0,20}", answer in "\\PC{1,20}!") {
        let tokenizer = Fixture::chatml().build();
        let example = example(&conversation(&[("user", &question), ("assistant", &answer)]), &tokenizer, Mask::Assistant);
        let pieces: String = inspect(&example, &tokenizer).into_iter().map(|token| token.text).collect();
        prop_assert_eq!(pieces, tokenizer.decode(&example.token_ids, SpecialTokens::Keep).unwrap());
    }
}

/// `tokenizer.json` with a part replaced.
fn with_part(part: &str, value: Value) -> TokenizerFiles {
    let mut json = tokenizer_json(&Fixture::chatml());
    json[part] = value;
    TokenizerFiles {
        tokenizer: json.to_string().into_bytes(),
        ..TokenizerFiles::default()
    }
}

fn replacing(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
}

/// The error of a tokenizer, or of encoding a text with it.
fn failing(files: &TokenizerFiles, text: &str) -> String {
    let made = Tokenizer::from_bytes(files).and_then(|tokenizer| tokenizer.encode_plain(text));
    with_hints(&made.unwrap_err())
}

#[test]
fn a_pipeline_that_panics_is_an_error_of_its_file() {
    let missing = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<nope>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}});
    let regex = json!({"type": "Split", "pattern": {"Regex": "(a+)+$|(a|a)*b|(.*)*x"}, "behavior": "Isolated", "invert": false});
    for (files, text) in [
        (with_part("post_processor", missing), "a".to_owned()),
        (with_part("normalizer", replacing("", "x")), "hello".to_owned()),
        (with_part("pre_tokenizer", regex), "a".repeat(60) + "!"),
    ] {
        let error = failing(&files, &text);
        assert!(error.starts_with("`tokenizer.json`: "), "{error}");
        assert!(error.contains("\nhint: "), "{error}");
    }
}

#[test]
fn a_normaliser_that_makes_texts_without_bound_is_refused() {
    let thousand = "a".repeat(1000);
    for normalizers in [
        vec![replacing("a", &thousand); 3],
        vec![replacing("a", &"a".repeat(100)); 6],
        vec![json!({"type": "Sequence", "normalizers": vec![replacing("a", &thousand); 3]})],
        vec![json!({"type": "Replace", "pattern": {"Regex": "a"}, "content": thousand})],
    ] {
        let error = failing(
            &with_part(
                "normalizer",
                json!({"type": "Sequence", "normalizers": normalizers}),
            ),
            "a",
        );
        assert!(
            error.contains("its `normalizer` can make a text more than 256 times as long"),
            "{error}"
        );
    }
    // SentencePiece's normaliser: a one-byte space becomes a three-byte mark.
    let usual = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replacing(" ", "▁")]});
    Tokenizer::from_bytes(&with_part("normalizer", usual)).unwrap();
}

#[test]
fn a_text_that_is_or_becomes_too_long_is_refused_with_its_row() {
    let plain = Tokenizer::from_bytes(&Fixture::chatml().files()).unwrap();
    let grown = Tokenizer::from_bytes(&with_part("normalizer", replacing("a", &"a".repeat(200)))).unwrap();
    let most = 4 << 20;
    assert!(plain.encode_plain(&"a b ".repeat(most / 4)).is_ok());
    assert!(grown.encode_plain(&"b".repeat(20_000)).is_ok());
    for (tokenizer, text, said) in [
        (
            &plain,
            "a".repeat(most + 1),
            "a text of 4194305 bytes is too long: at most 4 MiB",
        ),
        (
            &grown,
            "b".repeat(21_000),
            "its normaliser may make it 200 times as long",
        ),
    ] {
        let error = with_hints(&tokenizer.encode_plain(&text).unwrap_err());
        assert!(error.contains(said) && error.contains("\nhint: split"), "{error}");
    }
    let long = "a".repeat(most + 1);
    let rows: String = ["c", &long]
        .map(|text| json!({"text": text}).to_string() + "\n")
        .concat();
    let rows = parse_file("d.jsonl", rows.as_bytes()).unwrap();
    let error = tokenize(&rows, &plain, &TokenizeOptions::new(8, Mask::All))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("d.jsonl:2: ") && error.contains("is too long"),
        "{error}"
    );
}

#[test]
fn only_regular_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("tokenizer.json"),
        Fixture::chatml().files().tokenizer,
    )
    .unwrap();
    fs::create_dir(directory.path().join("chat_template.jinja")).unwrap();
    let error = Tokenizer::from_dir(directory.path()).unwrap_err();
    assert!(error.to_string().contains("chat_template.jinja"), "{error}");
}
