//! Every way a file can be wrong has one message with its place, and costs nothing but what is wrong.

use std::fs;
use std::io::Write;
use std::path::Path;

use cadft_data::{Place, Problem, Row, Source};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Reads a file of this name and content: its rows, and what is wrong with it.
fn read(name: &str, bytes: &[u8]) -> (Vec<Row>, Vec<Problem>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for item in Source::new(path.display().to_string()).rows().unwrap() {
        match item {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
    }
    for problem in &mut problems {
        let path = Path::new(&problem.path);
        problem.path = path.strip_prefix(&directory).unwrap().display().to_string();
    }
    (rows, problems)
}

/// One problem with this place and message, beside so many good rows.
fn assert_one(name: &str, bytes: &[u8], good: usize, place: Place, message: &str) {
    let (rows, problems) = read(name, bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    let [problem] = problems.as_slice() else {
        panic!("{name}: {shown}\n{problems:#?}");
    };
    assert_eq!(
        (problem.path.as_str(), problem.place),
        (name, place),
        "{shown}\n{problem}"
    );
    assert!(
        problem.message.contains(message),
        "{shown}\n{problem}\nlacks: {message}"
    );
    assert_eq!(rows.len(), good, "{shown}");
}

const GOOD: &str = r#"{"text": "good"}"#;

/// A record, and all that is said of it.
const RECORDS: [(&str, &str); 66] = [
    // No JSON.
    ("{", "invalid JSON at column 1: EOF while parsing an object"),
    (
        r#"{"text": "a"} x"#,
        "invalid JSON at column 15: trailing characters",
    ),
    (
        r#"{"text": "a""#,
        "invalid JSON at column 12: EOF while parsing an object",
    ),
    (
        r#"{"text": "\ud800"}"#,
        "invalid JSON at column 17: unexpected end of hex escape",
    ),
    (
        r#"{"text": "a", "weight": NaN}"#,
        "invalid JSON at column 25: expected value",
    ),
    (
        r#"{"text": "a", "weight": 1e999}"#,
        "invalid JSON at column 29: number out of range",
    ),
    (
        r#"{'text': 'a'}"#,
        "invalid JSON at column 2: key must be a string",
    ),
    (r#"{"text": "a",}"#, "invalid JSON at column 14: trailing comma"),
    // No object.
    ("[]", "expected a JSON object, found a list"),
    (r#"[{"text": "a"}]"#, "expected a JSON object, found a list"),
    ("3", "expected a JSON object, found a number"),
    ("null", "expected a JSON object, found null"),
    // No format.
    (
        "{}",
        "no `messages`, `conversations`, `prompt` and `completion`, `instruction` and `output`, or `text`: found no keys",
    ),
    (
        r#"{"question": "q", "answer": "a"}"#,
        "no `messages`, `conversations`, `prompt` and `completion`, `instruction` and `output`, or `text`: found \
         `question`, `answer`",
    ),
    (r#"{"prompt": "p"}"#, "`prompt` without `completion`"),
    (r#"{"completion": "c"}"#, "`completion` without `prompt`"),
    (r#"{"instruction": "i"}"#, "`instruction` without `output`"),
    (r#"{"output": "o"}"#, "`output` without `instruction`"),
    // Text.
    (r#"{"text": 3}"#, "`text`: expected a string, found a number"),
    (r#"{"text": ""}"#, "`text`: empty"),
    // Prompt and completion.
    (
        r#"{"prompt": "p", "completion": ""}"#,
        "`completion`: empty, there is nothing to learn",
    ),
    (
        r#"{"prompt": "p", "completion": []}"#,
        "`prompt` and `completion`: expected two strings or two lists of messages, found a string and a list",
    ),
    (
        r#"{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "user", "content": "q"}]}"#,
        "`completion`: no assistant turn",
    ),
    (
        r#"{"prompt": [], "completion": [{"role": "assistant", "content": "a"}]}"#,
        "`prompt`: no messages",
    ),
    // Alpaca.
    (r#"{"instruction": "", "output": "o"}"#, "`instruction`: empty"),
    (
        r#"{"instruction": "i", "output": ""}"#,
        "`output`: empty, there is nothing to learn",
    ),
    (
        r#"{"instruction": ["i"], "output": "o"}"#,
        "`instruction`: expected a string, found a list",
    ),
    (
        r#"{"instruction": "i", "input": 1, "output": "o"}"#,
        "`input`: expected a string, found a number",
    ),
    (
        r#"{"instruction": "i", "output": "o", "history": [["q"]]}"#,
        "`history[0]`: expected a list of two strings, an instruction and its output",
    ),
    // Messages.
    (
        r#"{"messages": {}}"#,
        "`messages`: expected a list of messages, found an object",
    ),
    (
        r#"{"messages": "[{"}"#,
        "`messages`: expected a list of messages, found a string that is no JSON list",
    ),
    (r#"{"messages": []}"#, "`messages`: no messages"),
    (
        r#"{"messages": ["hi"]}"#,
        "`messages[0]`: expected an object, found a string",
    ),
    (
        r#"{"messages": [[{"role": "user", "content": "q"}]]}"#,
        "`messages[0]`: expected an object, found a list",
    ),
    (
        r#"{"messages": [{"content": "q"}]}"#,
        "`messages[0]`: missing key `role`",
    ),
    (
        r#"{"messages": [{"role": null, "content": "q"}]}"#,
        "`messages[0]`: `role`: expected a string, found null",
    ),
    (
        r#"{"messages": [{"role": 1, "content": "q"}]}"#,
        "`messages[0]`: `role`: expected a string, found a number",
    ),
    (
        r#"{"messages": [{"role": "bot", "content": "a"}]}"#,
        "`messages[0]`: unknown role `bot`, expected one of `system`, `developer`, `user`, `assistant`, `tool`, \
         `function`, `ipython`",
    ),
    (
        r#"{"messages": [{"role": "user"}]}"#,
        "`messages[0]`: missing key `content`",
    ),
    (
        r#"{"messages": [{"role": "user", "content": null}]}"#,
        "`messages[0]`: `content`: expected text, found null",
    ),
    (
        r#"{"messages": [{"role": "user", "content": 5}]}"#,
        "`messages[0]`: `content`: expected text, found a number",
    ),
    (
        r#"{"messages": [{"role": "user", "content": [["a"]]}]}"#,
        "`messages[0]`: `content[0]`: expected `{\"type\": \"text\", \"text\": ..}`",
    ),
    (
        r#"{"messages": [{"role": "user", "content": ["x"]}]}"#,
        "`messages[0]`: `content[0]`: expected `{\"type\": \"text\", \"text\": ..}`",
    ),
    (
        r#"{"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}"#,
        "`messages[0]`: `content[0]`: only parts of type `text` can be trained on, found `image`",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": " \n"}]}"#,
        "`messages[0]`: empty assistant turn",
    ),
    (
        r#"{"messages": [{"role": "assistant"}]}"#,
        "`messages[0]`: empty assistant turn",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "", "tool_calls": []}]}"#,
        "`messages[0]`: empty assistant turn",
    ),
    (
        r#"{"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "q"}]}"#,
        "two `system` turns, the first and the second of them turns 1 and 2 of the conversation",
    ),
    (
        r#"{"system": "a", "messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "q"}]}"#,
        "two `system` turns, the first and the second of them turns 1 and 2 of the conversation",
    ),
    (
        r#"{"messages": [{"role": "user", "content": "q", "name": 1}]}"#,
        "`messages[0]`: `name`: expected a string, found a number",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "a", "reasoning_content": ["r"]}]}"#,
        "`messages[0]`: `reasoning_content`: expected a string, found a list",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "a", "train": "no"}]}"#,
        "`messages[0]`: `train`: expected true or false, found a string",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}"#,
        "`messages[0]`: `weight`: a turn's is 0 or 1, found 0.5",
    ),
    (
        r#"{"messages": [{"role": "assistant", "tool_calls": {"name": "f"}}]}"#,
        "`messages[0]`: `tool_calls`: expected a list, found an object",
    ),
    (
        r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": "f"}]}]}"#,
        "`messages[0]`: `tool_calls[0]`: expected an object with the `name` of a function",
    ),
    (
        r#"{"messages": [{"role": "assistant", "function_call": "f"}]}"#,
        "`messages[0]`: `function_call`: expected an object, found a string",
    ),
    (
        r#"{"messages": [{"role": "user", "content": "q"}], "tools": "f"}"#,
        "`tools`: expected a list, found a string",
    ),
    // ShareGPT.
    (
        r#"{"conversations": "hi"}"#,
        "`conversations`: expected a list of messages, found a string",
    ),
    (
        r#"{"conversations": [{"from": "alien", "value": "q"}]}"#,
        "`conversations[0]`: unknown speaker `alien`, expected one of `human`, `user`, `gpt`",
    ),
    (
        r#"{"conversations": [{"from": "human"}]}"#,
        "`conversations[0]`: missing key `value`",
    ),
    (
        r#"{"conversations": [{"from": 1, "value": "q"}]}"#,
        "`conversations[0]`: `from`: expected a string, found a number",
    ),
    (
        r#"{"conversations": [{"from": "function_call", "value": "f(x)"}]}"#,
        "`conversations[0]`: `value`: a function call is a JSON object with `name` and `arguments`, or a list of them; \
         this is no JSON",
    ),
    // What goes with every format.
    (
        r#"{"text": "a", "weight": -1}"#,
        "`weight`: expected a finite number of at least 0, found `-1`",
    ),
    (
        r#"{"text": "a", "weight": "1"}"#,
        "`weight`: expected a number, found a string",
    ),
    (
        r#"{"text": "a", "id": {}}"#,
        "`id`: expected a string or a number, found an object",
    ),
    (
        r#"{"text": "a", "answer": [1]}"#,
        "`answer`: expected a string or a number, found a list",
    ),
];

#[test]
fn each_malformed_line_has_one_message() {
    for (line, message) in RECORDS {
        let text = format!("{GOOD}\n{line}\n{GOOD}\n");
        assert_one("d.jsonl", text.as_bytes(), 2, Place::Line(2), message);
    }
}

#[test]
fn each_malformed_element_of_a_list_has_one_message() {
    // Elements that leave brackets or quotes open swallow what follows; they are tested below.
    let balanced = |line: &str| !matches!(line, "{" | r#"{"text": "a""#);
    for (element, message) in RECORDS.into_iter().filter(|(line, _)| balanced(line)) {
        let text = format!("[\n{GOOD},\n{element},\n{GOOD}\n]\n");
        assert_one("d.json", text.as_bytes(), 2, Place::Line(3), message);
    }
}

#[test]
fn text_that_is_no_text_is_named_with_its_byte() {
    let line = |bytes: &[u8]| [GOOD.as_bytes(), b"\n", bytes, b"\n", GOOD.as_bytes()].concat();
    let cases: [(&str, Vec<u8>, usize, Place, &str); 5] = [
        (
            "d.jsonl",
            line(b"{\"text\": \"a\xFF\"}"),
            2,
            Place::Line(2),
            "invalid UTF-8 at byte 12",
        ),
        (
            "d.jsonl",
            line(b"{\"text\": \"\xED\xA0\x80\"}"),
            2,
            Place::Line(2),
            "invalid UTF-8 at byte 11",
        ),
        (
            "d.jsonl",
            line(b"\0\0\0"),
            2,
            Place::Line(2),
            "invalid JSON at column 1",
        ),
        ("d.jsonl", b"\xFF\xFE{\0\"\0".to_vec(), 0, Place::File, "UTF-16"),
        (
            "d.csv",
            b"text\ngood\na\xFFb\ngood\n".to_vec(),
            2,
            Place::Line(3),
            "invalid UTF-8 in value 1, at its byte 2",
        ),
    ];
    for (name, bytes, good, place, message) in cases {
        assert_one(name, &bytes, good, place, message);
    }
}

#[test]
fn files_without_rows_are_named() {
    let empty = [
        ("d.jsonl", ""),
        ("d.jsonl", "\n\r\n"),
        ("d.jsonl", "\u{FEFF}"),
        ("d.json", "[]"),
        ("d.json", " \n[ ]\n"),
        ("d.csv", ""),
        ("d.csv", "text,id\n"),
        ("d.tsv", "\n\n"),
    ];
    for (name, text) in empty {
        assert_one(name, text.as_bytes(), 0, Place::File, "no rows");
    }
    assert_one("d.parquet", b"", 0, Place::File, "this is no readable Parquet");
}

#[test]
fn lists_that_are_not_closed_are_read_as_far_as_they_go() {
    let cases = [
        (
            format!("[{GOOD},\n{GOOD}"),
            2,
            2,
            "the file ends before the list does",
        ),
        (
            format!("[{GOOD},\n{{\"text\": \"a"),
            1,
            2,
            "the file ends before the list does",
        ),
        (
            format!("[{GOOD},\n{{\"text\": [1, 2"),
            1,
            2,
            "the file ends before the list does",
        ),
        (format!("[{GOOD},"), 1, 1, "the file ends before the list does"),
        ("[".to_owned(), 0, 1, "the file ends before the list does"),
        (format!("[{GOOD},\n]"), 1, 2, "a comma before the end of the list"),
        (
            format!("[{GOOD}]\n{GOOD}"),
            1,
            2,
            "text after the end of the list",
        ),
        (format!("[{GOOD},,{GOOD}]"), 2, 1, "invalid JSON"),
        (
            "{\n  \"data\": []\n}\n".to_owned(),
            0,
            1,
            "one object over several lines",
        ),
    ];
    for (text, good, line, message) in cases {
        assert_one("d.json", text.as_bytes(), good, Place::Line(line), message);
    }
}

#[test]
fn tables_that_are_malformed_are_named_by_line() {
    let cases = [
        (
            "text,id\na,1\nb\nc,3\n",
            2,
            3,
            "1 values, but the header has 2 columns",
        ),
        (
            "text,id\na,1\nb,2,3\nc,3\n",
            2,
            3,
            "3 values, but the header has 2 columns",
        ),
        (
            "text\n\"a\nb\"\n\"c\n",
            1,
            4,
            "a quote is opened and never closed",
        ),
        ("text,text\na,b\n", 0, 1, "two columns are called `text`"),
        (
            "text,weight\na,1\nb,heavy\nc,2\n",
            2,
            3,
            "`weight`: expected a number, found a string",
        ),
        (
            "text,weight\na,-1\nc,2\n",
            1,
            2,
            "`weight`: expected a finite number of at least 0, found `-1`",
        ),
        (
            "prompt,completion\np,c\np,\n",
            1,
            3,
            "`prompt` without `completion`",
        ),
        (
            "messages\n\"[{'role': 'user'}]\"\n",
            0,
            2,
            "a string that is no JSON list",
        ),
    ];
    for (text, good, line, message) in cases {
        assert_one("d.csv", text.as_bytes(), good, Place::Line(line), message);
    }
}

#[test]
fn a_record_that_is_too_long_is_skipped() {
    let long = "a".repeat(64 << 20);
    let jsonl = format!("{GOOD}\n{{\"text\": \"{long}\"}}\n{GOOD}\n");
    assert_one(
        "d.jsonl",
        jsonl.as_bytes(),
        2,
        Place::Line(2),
        "longer than 64 MiB",
    );
    let json = format!("[{GOOD},\n{{\"text\": \"{long}\"}},\n{GOOD}]");
    assert_one("d.json", json.as_bytes(), 2, Place::Line(2), "longer than 64 MiB");
    let csv = format!("text\na\n\"{long}{}", " ".repeat(1 << 16));
    assert_one("d.csv", csv.as_bytes(), 1, Place::Line(3), "longer than 64 MiB");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("{{\"text\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let text = format!("{GOOD}\n{deep}\n{GOOD}\n");
    assert_one(
        "d.jsonl",
        text.as_bytes(),
        2,
        Place::Line(2),
        "recursion limit exceeded",
    );
}

#[test]
fn files_that_are_cut_short_keep_their_whole_rows() {
    let rows: String = (0..20_000)
        .map(|n| format!("{{\"text\": \"row {n} {}\"}}\n", n * 7919 % 1009))
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(rows.as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(rows.as_bytes(), 0).unwrap();
    for (name, bytes) in [("d.jsonl.gz", gzip), ("d.jsonl.zst", zstd)] {
        assert_eq!(read(name, &bytes).0.len(), 20_000, "{name}");
        let (rows, problems) = read(name, &bytes[..bytes.len() - 8]);
        let [problem] = problems.as_slice() else {
            panic!("{problems:?}");
        };
        assert!(rows.len() > 1000, "{}", rows.len());
        assert_eq!(problem.place, Place::Line(rows.len() + 1), "{problem}");
        assert!(problem.message.starts_with("the file is cut short"), "{problem}");
    }
    assert_one(
        "d.jsonl.gz",
        b"",
        0,
        Place::File,
        "neither gzip nor Zstandard, as its name says",
    );
    assert_one(
        "d.jsonl.gz",
        GOOD.as_bytes(),
        0,
        Place::File,
        "neither gzip nor Zstandard, as its name says",
    );
    assert_one(
        "d.parquet.gz",
        GOOD.as_bytes(),
        0,
        Place::File,
        "unpack the file first",
    );
    assert_one("d.jsonl", b"PAR1....PAR1", 0, Place::File, "ends in `.parquet`");
}
