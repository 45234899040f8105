//! Commands that read a model: `evaluate`, `score`, `generate`, `chat`, `data inspect`, `model`.

use super::{Cadft, fixture, json_lines};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

/// Largest difference of a likelihood from the reference implementation's, in nats a token.
const TOLERANCE: f64 = 2e-4;

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

fn number(object: &Value, key: &str) -> f64 {
    object[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no number `{key}` in {object}"))
}

#[test]
fn scores_equal_the_references_in_the_order_of_the_input() {
    let cadft = Cadft::new();
    let model = fixture("model");
    for data in ["eval", "messages", "prompt_completion"] {
        let file = fixture(&format!("{data}.jsonl"));
        let expected = std::fs::read_to_string(fixture(&format!("score.{data}.expected.jsonl")))
            .expect("the reference's scores");
        let scores = json_lines(&cadft.answer(&["score", "--model", &model, "--data", &file]));
        let expected = json_lines(&expected);
        assert_eq!(scores.len(), expected.len());
        for (score, expected) in scores.iter().zip(&expected) {
            let expected_keys = ["id", "tokens", "supervised", "nll", "z", "weight", "path", "line"];
            assert_eq!(keys(score), expected_keys);
            for key in ["id", "tokens", "supervised"] {
                assert_eq!(score[key], expected[key], "{data}: {key}");
            }
            for key in ["nll", "z", "weight"] {
                let difference = (number(score, key) - number(expected, key)).abs();
                // Standardising divides by a standard deviation of a few tenths.
                assert!(difference < 10.0 * TOLERANCE, "{data}: {key}: {score} {expected}");
            }
            assert!((number(score, "nll") - number(expected, "nll")).abs() < TOLERANCE);
        }
    }
}

#[test]
fn scores_go_to_a_file_when_one_is_named() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    let answer = cadft.answer(&[
        "score",
        "--model",
        &model,
        "--data",
        &data,
        "--out",
        "scores.jsonl",
    ]);
    assert_eq!(answer, "");
    let written = std::fs::read_to_string(cadft.path("scores.jsonl")).expect("the scores");
    assert_eq!(
        written,
        cadft.answer(&["score", "--model", &model, "--data", &data])
    );
}

#[test]
fn beta_zero_weighs_every_sample_alike() {
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    let scores = Cadft::new().answer(&["score", "--model", &model, "--data", &data, "--beta", "0"]);
    let weights: Vec<f64> = (json_lines(&scores).iter())
        .map(|score| number(score, "weight"))
        .collect();
    assert_eq!(weights, [1.0; 16]);
}

#[test]
fn the_evaluation_is_the_token_mean_of_the_scores() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    let scores = json_lines(&cadft.answer(&["score", "--model", &model, "--data", &data]));
    let evaluation =
        json_lines(&cadft.answer(&["evaluate", "--model", &model, "--data", &data, "--json"])).remove(0);
    assert_eq!(
        keys(&evaluation),
        [
            "samples",
            "tokens",
            "supervised",
            "nll",
            "perplexity",
            "token_accuracy"
        ]
    );
    let supervised: f64 = scores.iter().map(|score| number(score, "supervised")).sum();
    let sum: f64 = scores
        .iter()
        .map(|score| number(score, "nll") * number(score, "supervised"))
        .sum();
    assert_eq!(number(&evaluation, "supervised"), supervised);
    assert!((number(&evaluation, "nll") - sum / supervised).abs() < 1e-5);
    assert!((number(&evaluation, "perplexity").ln() - number(&evaluation, "nll")).abs() < 1e-9);
    let micro = cadft.answer(&[
        "evaluate", "--model", &model, "--data", &data, "--json", "--micro", "1",
    ]);
    let one = json_lines(&micro).remove(0);
    assert!((number(&one, "nll") - number(&evaluation, "nll")).abs() < 1e-5);
}

#[test]
fn answers_are_counted_when_asked_for() {
    let cadft = Cadft::new();
    cadft.write(
        "q.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Ben has 3 shells.\"}, {\"role\": \"assistant\", \"content\": \"#### 3\"}], \"answer\": \"3\"}\n",
    );
    let model = fixture("model");
    let args = [
        "evaluate",
        "--model",
        &model,
        "--data",
        "q.jsonl",
        "--json",
        "--max-new-tokens",
        "8",
    ];
    let answer = cadft.answer(&[args.as_slice(), &["--answers"]].concat());
    let answers = &json_lines(&answer)[0]["answers"];
    assert_eq!(answers["questions"], 1);
    assert_eq!(answers["pass_at"]["1"], answers["accuracy"]);
    let generated = cadft.answer(&[args.as_slice(), &["--generate", "--limit", "5"]].concat());
    assert_eq!(generated, answer);
    let data = fixture("eval.jsonl");
    let message = cadft.refusal(&["evaluate", "--model", &model, "--data", &data, "--answers", "5"]);
    assert!(message.contains("no evaluation row has an `answer`"), "{message}");
}

#[test]
fn several_answers_to_each_question_give_pass_at_k_and_a_record() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    let rows = std::fs::read_to_string(&data).expect("the rows");
    let questions: String = json_lines(&rows)
        .into_iter()
        .take(3)
        .map(|mut row| {
            row["answer"] = "1".into();
            format!("{row}\n")
        })
        .collect();
    cadft.write("q.jsonl", &questions);
    let base = [
        "evaluate",
        "--model",
        &model,
        "--data",
        "q.jsonl",
        "--max-new-tokens",
        "6",
    ];
    let sampled = [
        "--generate",
        "--samples",
        "4",
        "--temperature",
        "1.5",
        "--seed",
        "3",
    ];
    let run = |more: &[&str]| cadft.answer(&[&base, sampled.as_slice(), more].concat());
    let report = json_lines(&run(&["--json", "--out", "answers.jsonl"])).remove(0);
    let answers = &report["answers"];
    assert_eq!(
        (&answers["questions"], &answers["samples"]),
        (&3.into(), &4.into())
    );
    assert_eq!(keys(&answers["pass_at"]), ["1", "2", "4"]);
    let written = std::fs::read_to_string(cadft.path("answers.jsonl")).expect("the record");
    let written = json_lines(&written);
    assert_eq!(written.len(), 3);
    let right = |question: &Value| {
        let answers = question["answers"].as_array().expect("answers");
        assert_eq!(answers.len(), 4);
        for answer in answers {
            assert_eq!(answer["correct"], answer["answer"] == question["reference"]);
            assert!(answer["text"].is_string() && answer["tokens"].as_u64() <= Some(6));
        }
        answers.iter().filter(|answer| answer["correct"] == true).count()
    };
    assert_eq!(written.iter().map(right).sum::<usize>(), answers["correct"]);
    assert_eq!(run(&["--json", "--batch", "2"]), run(&["--json", "--batch", "9"]));
    let shown = run(&[]);
    assert!(shown.contains("pass@k") && shown.contains("(k = 4)"), "{shown}");

    let refused = |more: &[&str]| cadft.refusal(&[&base, more].concat());
    assert!(refused(&["--generate", "--samples", "2"]).contains("greedy answers are all the same"));
    assert!(refused(&["--out", "x.jsonl"]).contains("add `--generate`"));
    assert!(refused(&["--generate", "--extractor", "regex=("]).contains("not a regular expression"));
    assert!(refused(&["--generate", "--top-p", "0"]).contains("`top_p` is `0`"));
}

/// Arguments that answer a prompt with at most twelve tokens.
fn twelve_tokens(model: &str) -> [&str; 8] {
    let (prompt, length) = ("Ben has 3 shells.", "12");
    [
        "generate",
        "--model",
        model,
        "--prompt",
        prompt,
        "--json",
        "--max-new-tokens",
        length,
    ]
}

#[test]
fn answers_end_where_a_stop_text_begins_and_samples_differ() {
    let cadft = Cadft::new();
    let model = fixture("model");
    let base = twelve_tokens(&model);
    let generate = |more: &[&str]| json_lines(&cadft.answer(&[&base, more].concat()));
    let whole = generate(&["--greedy"]).remove(0);
    let text = whole["text"].as_str().expect("text");
    let stop: String = text.chars().skip(3).take(2).collect();
    let stopped = generate(&["--greedy", "--stop", &stop]).remove(0);
    assert_eq!(
        stopped["text"],
        text[..text.find(&stop).expect("part of the text")]
    );
    assert_eq!(stopped["finish"], "stop");
    assert!(stopped["tokens"].as_u64() < whole["tokens"].as_u64());
    let warm = [
        "--temperature",
        "2",
        "--top-k",
        "50",
        "--min-p",
        "0.001",
        "--repetition-penalty",
        "1.2",
    ];
    let samples = generate(&[warm.as_slice(), &["--samples", "3"]].concat());
    assert_eq!(samples.len(), 3);
    assert!(
        samples
            .iter()
            .all(|sample| sample["prompt"] == "Ben has 3 shells.")
    );
    assert!(samples[0]["text"] != samples[1]["text"] || samples[1]["text"] != samples[2]["text"]);
    assert_eq!(generate(&["--temperature", "0"]).remove(0), whole);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let cadft = Cadft::new();
    let model = fixture("model");
    let refused = |more: &[&str]| {
        let base = ["generate", "--model", &model, "--prompt", "Ben"];
        cadft.refusal(&[&base, more].concat())
    };
    assert!(refused(&["--temperature=-1"]).contains("at least 0"));
    assert!(refused(&["--top-k", "0"]).contains("at least 1"));
    let message = refused(&["--top-p", "1.5", "--min-p", "2", "--repetition-penalty", "0"]);
    for name in [
        "`top_p` is `1.5`",
        "`min_p` is `2`",
        "`repetition_penalty` is `0`",
    ] {
        assert!(message.contains(name), "{message}");
    }
    let long = "Ben has 3 shells. ".repeat(2000);
    let message = cadft.refusal(&["generate", "--model", &model, "--prompt", &long]);
    assert!(
        message.contains("positions") && message.contains("hint: shorten the prompt"),
        "{message}"
    );
}

#[test]
fn greedy_answers_are_the_same_every_time_and_sampled_ones_depend_on_the_seed_alone() {
    let cadft = Cadft::new();
    let model = fixture("model");
    let base = twelve_tokens(&model);
    let generate = |more: &[&str]| json_lines(&cadft.answer(&[&base, more].concat())).remove(0);
    let greedy = generate(&["--greedy"]);
    assert_eq!(greedy, generate(&["--greedy"]));
    assert_eq!(greedy["prompt"], "Ben has 3 shells.");
    for key in ["prompt", "text", "tokens", "finish"] {
        assert!(!greedy[key].is_null(), "no {key}");
    }
    let tokens = greedy["tokens"].as_u64().expect("a count");
    assert!((1..=12).contains(&tokens));
    assert!(greedy["finish"] == "stop" || (greedy["finish"] == "length" && tokens == 12));
    let warm = |seed| generate(&["--temperature", "2", "--top-p", "1", "--seed", seed]);
    assert_eq!(warm("1"), warm("1"));
    assert_ne!(warm("1"), warm("2"));
    assert_ne!(
        generate(&["--greedy", "--raw"])["text"],
        greedy["text"],
        "the chat template has no effect"
    );
}

#[test]
fn every_row_of_a_file_is_answered_whatever_the_batch() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    let base = [
        "generate",
        "--model",
        &model,
        "--data",
        &data,
        "--json",
        "--greedy",
        "--max-new-tokens",
        "6",
    ];
    let answers = |batch| {
        let lines = cadft.answer(&[base.as_slice(), &["--batch", batch]].concat());
        json_lines(&lines)
            .iter()
            .map(|answer| answer["id"].clone())
            .collect::<Vec<_>>()
    };
    let rows = std::fs::read_to_string(&data).expect("the rows");
    let ids: Vec<_> = json_lines(&rows).iter().map(|row| row["id"].clone()).collect();
    assert_eq!(answers("3"), ids);
    assert_eq!(answers("64"), ids);
}

#[test]
fn a_chat_reads_lines_and_writes_answers() {
    let cadft = Cadft::new();
    let model = fixture("model");
    let mut child = cadft
        .command(&["chat", "--model", &model, "--greedy", "--max-new-tokens", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("its input");
    write!(
        stdin,
        "Ben has 3 shells.\n\n/reset\nBen has 3 shells.\n/exit\nnever\n"
    )
    .expect("it reads");
    drop(stdin);
    let ran = super::ran(child.wait_with_output().expect("the command ends"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let half = ran.stdout.len() / 2;
    assert!(half > 0);
    assert_eq!(
        ran.stdout[..half],
        ran.stdout[half..],
        "the conversation was not forgotten: {}",
        ran.stdout
    );
}

#[test]
fn inspection_shows_what_is_trained() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    let args = [
        "data", "inspect", "--model", &model, "--data", &data, "--limit", "2",
    ];
    let text = cadft.answer(&args);
    assert!(
        text.contains("⟦36 - 34 = 2\n2 - 1 = 1\n#### 1") && !text.contains('\u{1b}'),
        "{text}"
    );
    let samples = json_lines(&cadft.answer(&[args.as_slice(), &["--json"]].concat()));
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0]["id"], "eval-00");
    let tokens = samples[0]["tokens"].as_array().expect("tokens");
    let trained: String = tokens
        .iter()
        .filter(|token| token["trained"] == true)
        .map(|token| token["text"].as_str().expect("text"))
        .collect();
    assert!(trained.starts_with("36 - 34 = 2\n2 - 1 = 1\n#### 1"), "{trained}");
    assert!(tokens.iter().all(|token| token["id"].is_u64()));
}

#[test]
fn a_model_is_described_by_its_configuration() {
    let model = fixture("model");
    let described = json_lines(&Cadft::new().answer(&["model", "inspect", &model, "--json"])).remove(0);
    assert_eq!(described["model_type"], "llama");
    assert!(number(&described, "parameters") > 1000.0);
    assert_eq!(described["has_chat_template"], true);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let cadft = Cadft::new();
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    for command in ["evaluate", "score"] {
        let message = cadft.refusal(&[command, "--model", "nowhere", "--data", &data]);
        assert!(message.contains("`nowhere` is not a directory"), "{message}");
        let message = cadft.refusal(&[command, "--model", &model, "--data", "none.jsonl"]);
        assert!(
            message.contains("error: cannot read `none.jsonl`\n  cause: No such file"),
            "{message}"
        );
    }
    cadft.write(
        "bad.jsonl",
        "{\"messages\": 3}\nnot json\n{\"text\": \"fine\"}\n{\"txt\": 1}\n",
    );
    let message = cadft.refusal(&["score", "--model", &model, "--data", "bad.jsonl"]);
    for line in ["bad.jsonl:1", "bad.jsonl:2", "bad.jsonl:4", "hint: every row"] {
        assert!(message.contains(line), "no {line} in {message}");
    }
    let message = cadft.refusal(&["model", "convert", "--gguf", "none.gguf", "--out", "m"]);
    assert!(message.contains("none.gguf"), "{message}");
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let (model, data) = (fixture("model"), fixture("eval.jsonl"));
    let ran = Cadft::new().run(&[
        "score",
        "--model",
        &model,
        "--data",
        &data,
        "--out",
        "no/such/x.jsonl",
    ]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cannot write `no/such/x.jsonl`"),
        "{}",
        ran.stderr
    );
}
