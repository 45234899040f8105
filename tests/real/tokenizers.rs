//! Published tokenizers, fetched by `cargo xtask fetch tokenizers`: a model that is saved with one gives the same
//! tokens for texts and conversations in transformers as here.

use cadft_data::{Content, GenerationPrompt, Tokenizer, parse_file};
use cadft_model::checkpoint::keep_tokenizer_class;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// Texts on which tokenizers differ: spaces, digits, scripts, combining marks, code, and text that resembles a special
/// token.
const TEXTS: [&str; 28] = [
    "",
    " ",
    "  \n\n \t x",
    "Hello  world",
    "\r\nline\r\n\r\nnext\n",
    "1234567890 3.14159 1,000,000 ½ ² ٣٤",
    "It's he'll WE'VE I'm",
    "naïve café résumé \u{65}\u{301} Å \u{41}\u{30a}",
    "日本語の文章。中文字符，測試。한국어 문장",
    "Привет, мир! Ελληνικά שלום مرحبا हिन्दी ไทย",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇳🇴 👍🏽",
    "fn main() { println!(\"{}\", x >> 2); }\n\n    return a[0] != b;\n",
    "https://example.org/a?b=c&d=%20e#f",
    "<s> </s> <|endoftext|> [INST] <bos>",
    "a<|im_start|>b<|im_end|> c",
    " leading and trailing  ",
    "ﬁ ﬀ ＡＢＣ １２３ ㍿",
    "\u{200b}\u{feff}\u{ad}x\u{a0}y\u{3000}z",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "------======______......!!!!!!??????",
    "\\frac{a}{b} $x^2 + y_1$ \\n \\t",
    "CamelCaseAndSnake_case_and-kebab-case",
    "\u{0}\u{1}\u{7f}",
    "\u{10ffff}\u{e000}𝕏𐍈",
    "▁x ▁▁ y",
    "The quick brown fox jumps over the lazy dog.",
    "I don’t “quote” — dash… ",
    "0x1F 1e-5 v1.2.3 2026-11-28T12:00:00Z",
];

/// The results of transformers for one tokenizer.
#[derive(Deserialize)]
struct Answer {
    texts: Vec<Vec<u32>>,
    special: Vec<Vec<u32>>,
    conversations: Option<BTreeMap<String, Rendered>>,
}

#[derive(Deserialize)]
struct Rendered {
    error: Option<String>,
    text: Option<String>,
    ids: Option<Vec<u32>>,
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The tokenizers by name, each copied into the form of a saved model.
fn saved(scratch: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(repository("models/tokenizers")).expect("`cargo xtask fetch tokenizers`") {
        let source = entry.expect("an entry").path();
        let name = source.file_name().expect("a name").to_string_lossy().into_owned();
        let copy = scratch.join(&name);
        fs::create_dir(&copy).expect("a directory");
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(source.join(file), copy.join(file)).expect("a copy");
        }
        keep_tokenizer_class(&copy).expect("the files are right");
        found.insert(name, copy);
    }
    assert_eq!(found.len(), 10);
    found
}

/// The results of `python/published_tokenizers.py` for all of them.
fn answers(
    directories: &BTreeMap<String, PathBuf>,
    conversations: &Map<String, Value>,
) -> BTreeMap<String, Answer> {
    let python = env::var_os("CADFT_TRANSFORMERS_PYTHON")
        .expect("`cargo xtask test --real` names a Python with transformers");
    let mut child = Command::new(python)
        .arg(repository("python/published_tokenizers.py"))
        .args(directories.values())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let question = json!({"texts": TEXTS, "conversations": conversations}).to_string();
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(question.as_bytes()).expect("it is read");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The difference in one conversation, if there is one.
fn difference(tokenizer: &Tokenizer, row: &Value, expected: &Rendered) -> Option<String> {
    let row = parse_file("row", row.to_string().as_bytes())
        .expect("a row")
        .remove(0);
    let Content::Messages { messages, tools, .. } = &row.content else {
        panic!("a conversation")
    };
    let template = tokenizer.chat_template().expect("a template");
    let rendered = template.render(messages, tools, GenerationPrompt::Omit);
    match (&rendered, &expected.text, &expected.ids) {
        (Err(_), None, _) => None,
        (Ok(found), Some(text), Some(ids)) if found == text => {
            let found = tokenizer.encode_plain(found).expect("ids");
            (found != *ids).then(|| format!("{found:?}, expected {ids:?}"))
        }
        _ => Some(format!(
            "{rendered:?}, expected {:?} {:?}",
            expected.text, expected.error
        )),
    }
}

#[test]
fn published_tokenizers_give_what_transformers_gives() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directories = saved(scratch.path());
    let text =
        fs::read_to_string(repository("tests/fixtures/templates/conversations.json")).expect("a fixture");
    let conversations: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    let answers = answers(&directories, &conversations);
    let (mut differences, mut compared) = (String::new(), 0);
    for (name, directory) in directories {
        let tokenizer = Tokenizer::from_dir(&directory).expect("a tokenizer");
        let expected = &answers[&name];
        for ((text, plain), special) in TEXTS.iter().zip(&expected.texts).zip(&expected.special) {
            let found = (
                tokenizer.encode_plain(text).expect("ids"),
                tokenizer.encode_with_special(text).expect("ids"),
            );
            // If a text begins with the special token already, it is not added again here; transformers adds it.
            let twice = special.len() > plain.len() && special[0] == *plain.first().unwrap_or(&u32::MAX);
            let special = if twice { plain } else { special };
            if found != (plain.clone(), special.clone()) {
                let _ = writeln!(
                    differences,
                    "{name} {text:?}: {found:?}, expected {plain:?} {special:?}"
                );
            }
        }
        for (case, expected) in expected.conversations.iter().flatten() {
            if let Some(what) = difference(&tokenizer, &conversations[case], expected) {
                let _ = writeln!(differences, "{name} {case}: {what}");
            }
            compared += 1;
        }
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(compared >= 6 * conversations.len(), "{compared}");
}
