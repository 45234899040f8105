//! Data of every format: inspected, validated and converted.

use super::{Cadft, fixture, json_lines};

const ALPACA: &str = "instruction,input,output\n\"Add, please.\",\"1, 2\",3\nSay so.,,so\n";

#[test]
fn every_format_can_be_inspected() {
    let cadft = Cadft::new();
    let model = fixture("model");
    let conversation =
        r#"{"conversations": [{"from": "human", "value": "1 + 2?"}, {"from": "gpt", "value": "3"}]}"#;
    cadft.write("sharegpt.jsonl", conversation);
    cadft.write("alpaca.csv", ALPACA);
    cadft.write("qa.json", r#"[{"question": "1 + 2?", "answer": "3", "key": 7}]"#);
    cadft.write("text.jsonl", r#"{"text": "1 + 2 = 3"}"#);
    let inspect = |args: &[&str]| {
        let common = ["data", "inspect", "--model", &model, "--json", "--data"];
        json_lines(&cadft.answer(&[&common, args].concat()))
    };
    let columns = "instruction=question,output=answer,id=key";
    let mapped = inspect(&["qa.json", "--columns", columns]);
    assert_eq!(mapped[0]["id"], "7");
    assert_eq!(inspect(&["sharegpt.jsonl"])[0]["tokens"], mapped[0]["tokens"]);
    assert_eq!(inspect(&["alpaca.csv"]).len(), 2);
    assert_eq!(inspect(&["alpaca.csv", "--limit", "1"]).len(), 1);
    let tokens = inspect(&["text.jsonl"]).remove(0)["tokens"].take();
    let tokens = tokens.as_array().expect("a list");
    assert!(
        tokens[1..].iter().all(|token| token["trained"] == true),
        "{tokens:?}"
    );
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place_and_exit_code_2() {
    let cadft = Cadft::new();
    cadft.write("good.jsonl", "{\"text\": \"a\"}\n");
    cadft.write("bad.jsonl", "{\"text\": \"a\"}\n{}\n{\"text\": 3}\n");
    cadft.write("bad.csv", "text,id\na\n");
    let good = cadft.run(&["data", "validate", "--data", "good.jsonl"]);
    assert_eq!((good.code, good.stdout.as_str()), (0, ""));
    assert!(good.stderr.contains("1 row, nothing wrong"), "{}", good.stderr);
    let ran = cadft.run(&[
        "data",
        "validate",
        "--data",
        "missing.jsonl",
        "bad.csv",
        "good.jsonl",
        "bad.jsonl",
    ]);
    let places: Vec<_> = ran.stdout.lines().map(|line| line.split(": ").next()).collect();
    let expected = ["missing.jsonl", "bad.csv:2", "bad.jsonl:2", "bad.jsonl:3"];
    assert_eq!(places, expected.map(Some), "{}", ran.stdout);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("4 problems; good: 2 rows"), "{}", ran.stderr);
    let json = cadft.run(&["data", "validate", "--json", "--data", "bad.csv"]);
    let line = &json_lines(&json.stdout)[0];
    assert_eq!(
        (line["path"].as_str(), line["line"].as_u64()),
        (Some("bad.csv"), Some(2))
    );
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let cadft = Cadft::new();
    cadft.write(
        "bad.jsonl",
        &("{\"text\": \"a\"}\n".to_owned() + &"{\"text\": 3}\n".repeat(5)),
    );
    let ran = cadft.run(&["data", "validate", "--limit", "2", "--data", "bad.jsonl"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (2, 2), "{}", ran.stdout);
    let expected = "5 problems (2 of them shown; `--limit` shows more); good: 1 row";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
}

#[test]
fn a_configuration_of_a_directory_can_be_named() {
    let cadft = Cadft::new();
    std::fs::create_dir(cadft.path("set")).expect("a directory");
    let card = "---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n---\n";
    cadft.write("set/README.md", card);
    cadft.write("set/a.jsonl", "{\"text\": \"a\"}\n");
    cadft.write("set/b.jsonl", "{\"text\": \"b\"}\n{\"text\": \"b\"}\n");
    let validate = |args: &[&str]| cadft.run(&[&["data", "validate", "--data", "set"], args].concat());
    assert!(
        validate(&["--config", "b"])
            .stderr
            .contains("2 rows, nothing wrong")
    );
    let ran = validate(&[]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stdout
            .contains("the data set has the configurations `a`, `b`"),
        "{}",
        ran.stdout
    );
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_utf8_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let cadft = Cadft::new();
    let name = std::ffi::OsStr::from_bytes(b"a\xFF.jsonl");
    let mut command = cadft.command(&["data", "validate", "--data"]);
    let ran = super::ran(command.arg(name).output().expect("the command starts"));
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("not UTF-8: `a\u{FFFD}.jsonl`") && ran.stderr.contains("hint: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn rows_that_the_template_refuses_are_found_with_a_model() {
    let cadft = Cadft::new();
    let row = |roles: &[&str]| {
        let turns: Vec<_> = roles
            .iter()
            .map(|role| serde_json::json!({"role": role, "content": "x"}))
            .collect();
        format!("{}\n", serde_json::json!({"messages": turns}))
    };
    let model = fixture("model");
    cadft.write("d.jsonl", &row(&["user", "assistant"]));
    let validate = ["data", "validate", "--data", "d.jsonl"];
    assert_eq!(cadft.run(&[&validate[..], &["--model", &model]].concat()).code, 0);
    let config = std::fs::read_to_string(fixture("model/tokenizer_config.json")).expect("the fixture");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["chat_template"] = "{{ raise_exception('no turns today') }}".into();
    std::fs::create_dir(cadft.path("model")).expect("a directory");
    std::fs::copy(
        fixture("model/tokenizer.json"),
        cadft.path("model/tokenizer.json"),
    )
    .expect("a copy");
    cadft.write("model/tokenizer_config.json", &config.to_string());
    let ran = cadft.run(&[&validate[..], &["--model", "model"]].concat());
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("d.jsonl:1: ") && ran.stdout.contains("no turns today"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_row_without_a_trained_token_is_a_problem_with_its_line() {
    let cadft = Cadft::new();
    let rows = [
        serde_json::json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
        serde_json::json!({"messages": [{"role": "user", "content": "q"}]}),
        serde_json::json!({"messages": [{"role": "user", "content": "q"},
                                        {"role": "assistant", "content": "a", "loss": false}]}),
    ];
    let lines: Vec<String> = rows.iter().map(|row| format!("{row}\n")).collect();
    cadft.write("d.jsonl", &lines.concat());
    let model = fixture("model");
    let validate = ["data", "validate", "--data", "d.jsonl"];
    for more in [&[][..], &["--model", &model]] {
        let ran = cadft.run(&[&validate[..], more].concat());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        let expected = "d.jsonl:2: nothing to train: the conversation has no assistant turn\n\
                        d.jsonl:3: nothing to train: every assistant turn is taken out of training\n";
        assert_eq!(ran.stdout, expected);
        assert!(ran.stderr.contains("2 problems; good: 1 row"), "{}", ran.stderr);
    }
}

#[test]
fn what_the_chat_template_does_not_show_is_warned_of() {
    let cadft = Cadft::new();
    let row = serde_json::json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "because it is"}]});
    cadft.write("d.jsonl", &format!("{row}\n{row}\n"));
    let model = fixture("model");
    let data = ["--data", "d.jsonl", "--model", &model];
    for command in ["validate", "stats"] {
        let ran = cadft.run(&[&["data", command][..], &data].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let warning = "the chat template does not show the reasoning of 2 of 2 rows";
        assert!(
            ran.stderr.contains(warning) && ran.stderr.contains("hint: "),
            "{}",
            ran.stderr
        );
    }
    let stats = cadft.run(&[&["data", "stats", "--json"][..], &data].concat());
    assert_eq!(
        json_lines(&stats.stdout)[0]["total"]["lost"],
        serde_json::json!({"reasoning": 2})
    );
}

#[test]
fn statistics_are_a_table_and_a_histogram_or_json() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    cadft.write("alpaca.csv", ALPACA);
    let args = ["data", "stats", "--model", &model, "--data", &data, "alpaca.csv"];
    let shown = cadft.answer(&args);
    for part in [
        "source",
        "duplicates",
        "alpaca.csv",
        "total",
        "rows by length in tokens",
        "█",
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
    let stats = &json_lines(&cadft.answer(&[&args[..], &["--json", "--max-length", "1"]].concat()))[0];
    assert_eq!(stats["sources"][1]["rows"], 2);
    assert_eq!(stats["total"]["kept"], 0);
    assert_eq!(stats["total"]["dropped"]["too_long"], stats["total"]["rows"]);
}

#[test]
fn data_is_converted_or_refused_with_a_reason() {
    let cadft = Cadft::new();
    cadft.write("alpaca.csv", ALPACA);
    let convert = |data: &str, to: &str, out: &str| {
        cadft.run(&["data", "convert", "--data", data, "--to", to, "--out", out])
    };
    let ran = convert("alpaca.csv", "messages", "m.parquet");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("2 rows in `m.parquet`"), "{}", ran.stderr);
    assert_eq!(convert("m.parquet", "conversations", "c.jsonl.gz").code, 0);
    assert_eq!(convert("c.jsonl.gz", "alpaca", "a.csv").code, 0);
    let table = std::fs::read_to_string(cadft.path("a.csv")).expect("the file");
    assert!(table.starts_with("id,instruction,output\n"), "{table}");
    assert!(table.contains(",\"Add, please.\n1, 2\",3\n"), "{table}");
    let ran = convert("alpaca.csv", "text", "t.jsonl");
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("alpaca.csv:2: a conversation is text only under a chat template"),
        "{}",
        ran.stderr
    );
    assert!(!cadft.path("t.jsonl").exists());
    let ran = convert("alpaca.csv", "messages", "t.xlsx");
    assert!(ran.code == 2 && ran.stderr.contains("t.xlsx"), "{}", ran.stderr);
}
