//! `cadft model`: inspect, convert, diff.

use crate::CADFT;
use cadft_tests::command::{lines, run};
use cadft_tests::fixture;
use std::fs;
use std::path::Path;

fn cadft(directory: &Path, args: &[&str]) -> String {
    run(CADFT, directory, &[&["model"], args].concat())
        .succeeded()
        .stdout
}

#[test]
fn inspection_counts_operations_and_orders_memory() {
    let found = lines(&cadft(&fixture("blackbox"), &["inspect", "model", "--json"])).remove(0);
    let number = |key: &str| found[key].as_f64().expect(key);
    let memory = |key: &str| found["memory_mib"][key].as_f64().expect(key);
    assert!((number("training_flops") - 3.0 * number("forward_flops")).abs() < 1.0);
    // Two operations for each weight of a product, and those of attention.
    assert!(number("forward_flops") > number("parameters"));
    assert!((memory("weights_f32") - 2.0 * memory("weights_bf16")).abs() < 1e-9);
    assert!(memory("training_lora_recompute") <= memory("training_lora"));
    assert!(memory("training_recompute") < memory("training"));
    assert!(memory("training_lora") < memory("training"));
}

#[test]
fn a_converted_model_differs_by_the_rounding_of_its_format() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| out.path().join(name).to_str().expect("UTF-8").to_owned();
    let (base, same, rounded) = (
        fixture("blackbox/model").to_str().expect("UTF-8").to_owned(),
        place("same"),
        place("rounded"),
    );
    cadft(
        out.path(),
        &[
            "convert",
            "--model",
            &base,
            "--out",
            &same,
            "--max-shard-size",
            "1",
        ],
    );
    let differences = lines(&cadft(out.path(), &["diff", &base, &same, "--json"]));
    assert!(!differences.is_empty(), "one line a tensor");
    for line in &differences {
        assert!(line["changed"] == 0 && line["kind"] == "values", "{line}");
    }
    let equal = cadft(out.path(), &["diff", &base, &same]);
    let count = differences.len();
    assert_eq!(equal, format!("equal: {count} of {count} tensors\n"));
    for carried in ["tokenizer.json", "config.json"] {
        assert!(Path::new(&same).join(carried).is_file(), "{carried}");
    }

    cadft(
        out.path(),
        &["convert", "--model", &base, "--out", &rounded, "--dtype", "bf16"],
    );
    let rounded_by = lines(&cadft(out.path(), &["diff", &base, &rounded, "--json"]));
    assert_eq!(rounded_by.len(), differences.len());
    for line in &rounded_by {
        let relative = line["relative"].as_f64().expect("a number");
        assert!(relative <= 1.0 / 256.0, "{line}");
    }
    assert!(
        rounded_by.iter().any(|line| line["changed"].as_u64() > Some(0)),
        "{rounded_by:?}"
    );
    assert!(cadft(out.path(), &["diff", &base, &rounded]).contains(": differ: "));
}

#[test]
fn a_gguf_file_goes_out_and_comes_back() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let base = fixture("blackbox/model").to_str().expect("UTF-8").to_owned();
    let (file, again) = (out.path().join("model.gguf"), out.path().join("again"));
    let (file, again) = (file.to_str().expect("UTF-8"), again.to_str().expect("UTF-8"));
    let written = run(
        CADFT,
        out.path(),
        &[
            "model", "convert", "--model", &base, "--to", "gguf", "--out", file,
        ],
    );
    let _ = written.succeeded();
    cadft(out.path(), &["convert", "--gguf", file, "--out", again]);
    for line in lines(&cadft(out.path(), &["diff", &base, again, "--json"])) {
        let relative = line["relative"].as_f64().expect("a number");
        assert!(relative < 1.0 / 2048.0, "{line}");
    }
    let refused = run(
        CADFT,
        out.path(),
        &[
            "model", "convert", "--gguf", file, "--to", "gguf", "--out", "x.gguf",
        ],
    );
    refused.refused(&["`--to gguf`", "--model"]);
}

/// What is reported of a file is what the model has that is made of it again.
#[test]
fn a_conversion_says_what_its_format_changes() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let [base, data] = ["model", "eval.jsonl"]
        .map(|name| fixture("blackbox").join(name).to_str().expect("UTF-8").to_owned());
    let perplexity = |model: &str| {
        let args = ["evaluate", "--model", model, "--data", &data, "--json"];
        lines(&run(CADFT, out.path(), &args).succeeded().stdout).remove(0)["perplexity"].clone()
    };
    let mut differences = vec![];
    for dtype in ["f16", "q8_0", "q4_k_m"] {
        let args = [
            "convert", "--model", &base, "--to", "gguf", "--out", dtype, "--dtype", dtype, "--data", &data,
            "--json",
        ];
        let report = lines(&cadft(out.path(), &args)).remove(0);
        let again = format!("{dtype}-again");
        cadft(out.path(), &["convert", "--gguf", dtype, "--out", &again]);
        assert_eq!(report["perplexity"]["before"], perplexity(&base), "{dtype}");
        assert_eq!(report["perplexity"]["after"], perplexity(&again), "{dtype}");
        differences.push(report["difference"].as_f64().expect("a number"));
    }
    assert!(
        differences.is_sorted() && differences[0] < 1e-2,
        "{differences:?}"
    );
    assert!(differences[2] > 2.0 * differences[1], "{differences:?}");
}

#[test]
fn a_conversion_never_writes_what_it_reads() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let base = fixture("blackbox/model").to_str().expect("UTF-8").to_owned();
    let data = fixture("blackbox/eval.jsonl");
    fs::copy(&data, out.path().join("rows.jsonl")).expect("a copy");
    let convert = [
        "model",
        "convert",
        "--model",
        &base,
        "--to",
        "gguf",
        "--data",
        "rows.jsonl",
    ];
    let read = "is read by this command";
    for (others, option, reason) in [
        (&["--out", "rows.jsonl"][..], "`--out`", read),
        (
            &["--out", "m.gguf", "--modelfile", "rows.jsonl"],
            "`--modelfile`",
            read,
        ),
        (
            &["--out", "m.gguf", "--modelfile", "./m.gguf"],
            "`--modelfile`",
            "is written by `--out`",
        ),
    ] {
        run(CADFT, out.path(), &[&convert[..], others].concat()).refused(&[option, reason]);
        assert!(!out.path().join("m.gguf").exists());
    }
    let kept = fs::read(out.path().join("rows.jsonl")).expect("it is there");
    assert_eq!(kept, fs::read(data).expect("it is there"));
}

#[test]
fn a_modelfile_has_the_template_of_the_model() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let base = fixture("blackbox/model").to_str().expect("UTF-8").to_owned();
    let convert = [
        "convert",
        "--model",
        &base,
        "--out",
        "model.gguf",
        "--modelfile",
        "Modelfile",
    ];
    let refused = run(CADFT, out.path(), &[&["model"], &convert[..]].concat());
    refused.refused(&["`--modelfile` belongs to a GGUF file", "--to gguf"]);
    cadft(out.path(), &[&convert[..], &["--to", "gguf"]].concat());
    let written = fs::read_to_string(out.path().join("Modelfile")).expect("it is written");
    assert!(
        written.starts_with("FROM ./model.gguf\nTEMPLATE \"\"\""),
        "{written}"
    );
    assert!(
        written.contains("{{ .Content }}") && written.contains("PARAMETER stop"),
        "{written}"
    );
}

#[test]
fn saving_where_nothing_can_be_written_leaves_nothing() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let base = fixture("blackbox/model").to_str().expect("UTF-8").to_owned();
    let file = out.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let inside = file.join("model");
    let inside = inside.to_str().expect("UTF-8");
    let outcome = run(
        CADFT,
        out.path(),
        &["model", "convert", "--model", &base, "--out", inside],
    );
    outcome.refused(&["`--out`", "file/model", "cannot be a directory", "hint:"]);
    assert_eq!(fs::read_to_string(&file).expect("the file"), "in the way");
    assert_eq!(fs::read_dir(out.path()).expect("a directory").count(), 1);
}

/// The tokenizer has an added padding token without a row in the embedding. Padding is recognised by the length of
/// rows, so this token is never looked up.
#[test]
fn a_padding_token_beyond_the_embedding_changes_nothing() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let model = out.path().join("model");
    fs::create_dir(&model).expect("a directory");
    for entry in fs::read_dir(fixture("blackbox/model")).expect("a directory") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, model.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let edit = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let path = model.join(name);
        let mut object = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        change(&mut object);
        fs::write(path, object.to_string()).expect("it is written");
    };
    edit("tokenizer.json", &|tokenizer| {
        let mut token = tokenizer["added_tokens"][0].clone();
        token["id"] = 320.into();
        token["content"] = "<pad>".into();
        tokenizer["added_tokens"]
            .as_array_mut()
            .expect("a list")
            .push(token);
    });
    edit("tokenizer_config.json", &|config| {
        config["pad_token"] = "<pad>".into();
    });
    let evaluated = |model: &Path| {
        let model = model.to_str().expect("UTF-8");
        let args = [
            "evaluate",
            "--model",
            model,
            "--data",
            "messages.jsonl",
            "--micro",
            "4",
            "--json",
        ];
        lines(&run(CADFT, &fixture("blackbox"), &args).succeeded().stdout)[0]["nll"].clone()
    };
    assert_eq!(evaluated(&model), evaluated(&fixture("blackbox/model")));
    let path = model.to_str().expect("UTF-8");
    let (setting, target) = (format!("model.path={path}"), out.path().join("run"));
    let target = target.to_str().expect("UTF-8");
    let args = [
        "train",
        "--recipe",
        "recipe.toml",
        "--out",
        target,
        "--set",
        &setting,
        "--set",
        "schedule.steps=1",
    ];
    let _ = run(CADFT, &fixture("blackbox"), &args).succeeded();
}
