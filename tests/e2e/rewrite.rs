//! `cadft train` with rewriting, and `cadft rewrite` on the resulting log.

use crate::study::Study;
use cadft_tests::command::lines;
use serde_json::Value;
use std::fs;
use std::path::Path;

#[test]
fn rounds_are_on_record_and_can_be_listed_exported_replayed_and_undone() {
    let study = Study::new();
    let source = study.read("train.jsonl");
    let _ = study.train("run", &[]).succeeded();
    assert_eq!(study.read("train.jsonl"), source, "the source is never modified");

    // Rounds take place according to the plan, and the metrics agree.
    let plan = study
        .cadft(&["train", "--recipe", "recipe.toml", "--dry-run", "--json"])
        .succeeded();
    let plan: Value = serde_json::from_str(plan.stdout.trim()).expect("one JSON object");
    assert_eq!(plan["rewrite"]["rounds"], serde_json::json!([8, 10]));
    let steps: Vec<_> = study
        .events("run", "rewrote")
        .iter()
        .map(|event| event["step"].clone())
        .collect();
    assert_eq!(steps, [8, 10]);
    let rounds = study.log("run", "round");
    assert_eq!(rounds.len(), 2);
    assert!(
        rounds.iter().all(|round| round["chosen"].as_u64() <= Some(6)),
        "{rounds:?}"
    );

    // Every replaced sample ends with a stop token, and has a lower score than its original.
    let samples = study.log("run", "sample");
    let replaced: Vec<&Value> = samples
        .iter()
        .filter(|sample| sample["decision"] == "replaced")
        .collect();
    assert!(!replaced.is_empty(), "{samples:?}");
    for sample in &replaced {
        assert!(sample["observations"].as_u64() >= Some(2), "{sample}");
        assert!(
            sample["new"]["score"].as_f64() < sample["old"]["score"].as_f64(),
            "{sample}"
        );
        let last = sample["new"]["token_ids"].as_array().and_then(|ids| ids.last());
        assert_eq!(last, Some(&Value::from(2)), "{sample}");
    }

    let listed = study
        .cadft(&["rewrite", "list", "run", "--replaced", "--json"])
        .succeeded();
    assert_eq!(lines(&listed.stdout).len(), replaced.len());
    let id = replaced[0]["id"].as_str().expect("an id");
    let shown = study.cadft(&["rewrite", "show", "run", id]).succeeded().stdout;
    for side in ["old", "new"] {
        assert!(
            shown.contains(replaced[0][side]["text"].as_str().expect("text")),
            "{shown}"
        );
    }
    let diff = study.cadft(&["rewrite", "diff", "run", id]).succeeded().stdout;
    assert!(diff.contains("{+") || diff.contains("[-"), "{diff}");

    // The replayed data set equals that of every round.
    let replay = study.cadft(&["rewrite", "replay", "run", "--json"]).succeeded();
    let replay: Value = serde_json::from_str(&replay.stdout).expect("one JSON object");
    assert_eq!(replay["rounds"], 2);
    assert_eq!(replay["rewritten"], replaced.len());
    assert_eq!(replay["sha256"], rounds[1]["sha256"]);

    // The export has the new text in rewritten rows, and the bytes of the source elsewhere.
    let _ = study
        .cadft(&["rewrite", "export", "run", "--out", "new.jsonl"])
        .succeeded();
    let exported = study.read("new.jsonl");
    assert_eq!(exported.lines().count(), source.lines().count());
    let changed: Vec<&str> = exported
        .lines()
        .zip(source.lines())
        .filter(|(new, old)| new != old)
        .map(|(new, _)| new)
        .collect();
    assert_eq!(changed.len(), replaced.len());
    for line in changed {
        let row: Value = serde_json::from_str(line).expect("a row");
        let record = replaced
            .iter()
            .find(|record| record["id"] == row["id"])
            .expect("a record");
        assert_eq!(row["messages"][1]["content"], record["new"]["text"]);
    }
}

#[test]
fn pairs_are_the_rewritten_rows_alone() {
    let study = Study::new();
    let _ = study.train("run", &[]).succeeded();
    let mut replaced = study.log("run", "sample");
    replaced.retain(|sample| sample["decision"] == "replaced");
    let _ = study
        .cadft(&["rewrite", "export", "run", "--out", "pairs.jsonl", "--pairs"])
        .succeeded();
    let pairs = lines(&study.read("pairs.jsonl"));
    assert_eq!(pairs.len(), replaced.len());
    for pair in pairs {
        let record = replaced
            .iter()
            .find(|record| record["id"] == pair["id"])
            .expect("a record");
        let text = |side: &str| pair[side][0]["content"].clone();
        assert_eq!(text("chosen"), record["new"]["text"]);
        assert_eq!(text("rejected"), record["old"]["text"]);
        assert_eq!(pair["prompt"][0]["role"], "user");
        assert_eq!(pair["prompt"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_guided_answer_is_right_and_likelier_and_comes_after_the_models_own() {
    let study = Study::new();
    let checked = ["rewrite.same-answer=true", "rewrite.fraction=0.4"];
    let _ = study.train("own", &checked).succeeded();
    let guided = ["rewrite.guided=true"];
    let _ = study
        .train("guided", &[&checked[..], &guided].concat())
        .succeeded();
    let [own, guided] = ["own", "guided"].map(|run| {
        let mut samples = study.log(run, "sample");
        samples.retain(|sample| sample["step"] == 8);
        samples
    });
    assert_eq!(own.len(), guided.len());
    let answers: Vec<(Value, String)> = (lines(&study.read("train.jsonl")).into_iter())
        .map(|row| {
            (
                row["id"].clone(),
                row["answer"].as_str().expect("an answer").to_owned(),
            )
        })
        .collect();
    for (own, guided) in own.iter().zip(&guided) {
        if guided["guided"] != true {
            // What it finds by itself, and what fails twice, is as without.
            assert_eq!(own, guided);
            continue;
        }
        assert_ne!(own["decision"], "replaced", "{own}");
        assert_eq!(guided["decision"], "replaced", "{guided}");
        let score = |side: &str| guided[side]["score"].as_f64().expect("a score");
        assert!(score("new") < score("old"), "{guided}");
        let (_, answer) = answers.iter().find(|(id, _)| *id == guided["id"]).expect("a row");
        let text = guided["new"]["text"].as_str().expect("text");
        assert!(text.ends_with(answer.as_str()), "{text}: {answer}");
    }
    // Those that failed were answered twice.
    let tokens = |run: &str| study.events(run, "rewrote")[0]["tokens"].as_u64();
    assert!(tokens("guided") > tokens("own"));
    let _ = study.cadft(&["rewrite", "replay", "guided"]).succeeded();
    study
        .train("refused", &["rewrite.guided=true"])
        .refused(&["`rewrite.guided`", "same-answer"]);
    study
        .train("refused", &["rewrite.hint=\"look\""])
        .refused(&["`rewrite.hint`", "{solution}"]);
}

#[test]
fn what_is_undone_gives_the_bytes_of_the_source_and_stays_on_record() {
    let study = Study::new();
    let _ = study.train("run", &[]).succeeded();
    let replaced: Vec<Value> = (study.log("run", "sample").into_iter())
        .filter(|sample| sample["decision"] == "replaced")
        .collect();
    let id = replaced[0]["id"].as_str().expect("an id");
    let before = study.read("run/rewrites.jsonl");
    let lock = fs::File::options()
        .write(true)
        .open(study.path("run/run.lock"))
        .expect("the lock");
    lock.try_lock().expect("no process holds it");
    study
        .cadft(&["rewrite", "undo", "run", id])
        .refused(&["another process", "hint:"]);
    drop(lock);
    let _ = study.cadft(&["rewrite", "undo", "run", id]).succeeded();
    let _ = study.cadft(&["rewrite", "replay", "run"]).succeeded();
    study
        .cadft(&["rewrite", "undo", "run", id])
        .refused(&["no rewrite of", id, "hint:"]);
    let _ = study.cadft(&["rewrite", "undo", "run", "--all"]).succeeded();
    let _ = study
        .cadft(&["rewrite", "export", "run", "--out", "undone.jsonl"])
        .succeeded();
    assert_eq!(study.read("undone.jsonl"), study.read("train.jsonl"));
    assert!(study.read("run/rewrites.jsonl").starts_with(&before));
}

#[test]
fn the_same_seed_rewrites_the_same_and_another_seed_does_not() {
    let study = Study::new();
    for (out, seed) in [("a", 1), ("b", 1), ("c", 2)] {
        let _ = study.train(out, &[&format!("run.seed={seed}")]).succeeded();
    }
    let log = |out: &str| study.read(&format!("{out}/rewrites.jsonl"));
    assert_eq!(log("a"), log("b"));
    assert_ne!(log("a"), log("c"));
}

#[test]
fn a_record_that_was_changed_or_belongs_to_other_data_is_refused() {
    let study = Study::new();
    let _ = study.train("run", &[]).succeeded();
    let data = study.read("train.jsonl");
    fs::write(
        study.path("other.jsonl"),
        data.replacen("How many", "How very many", 1),
    )
    .expect("data");
    study
        .cadft(&["rewrite", "replay", "run", "--data", "other.jsonl"])
        .refused(&["does not fit the data", "hint:"]);
    study
        .cadft(&["rewrite", "export", "run", "--out", "train.jsonl"])
        .refused(&["`train.jsonl` is read by this command", "hint:"]);
    let log = study.read("run/rewrites.jsonl");
    fs::write(study.path("cut.jsonl"), log.replacen("\"kind\"", "\"knid\"", 2)).expect("a log");
    study
        .cadft(&["rewrite", "list", "cut.jsonl"])
        .refused(&["cut.jsonl:1", "hint:"]);
}

#[test]
fn a_round_in_which_nothing_is_accepted_is_told_and_training_goes_on() {
    let study = Study::new();
    let outcome = study.train("run", &["rewrite.max-new-tokens=1"]).succeeded();
    assert!(
        outcome.stderr.contains("none of 6 candidates was accepted"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("rewrite.max-new-tokens"),
        "{}",
        outcome.stderr
    );
    assert_eq!(study.events("run", "finished")[0]["steps"], 12);
    assert!(
        study
            .log("run", "sample")
            .iter()
            .all(|sample| sample["reason"] == "unfinished")
    );
}

#[test]
fn rewriting_that_cannot_fire_is_told_before_training() {
    let study = Study::new();
    for (setting, message) in [
        ("rewrite.warmup=3000", "no multiple of 2 steps"),
        ("rewrite.min-observations=4", "no sample is seen often enough"),
    ] {
        let args = [
            "train",
            "--recipe",
            "recipe.toml",
            "--dry-run",
            "--json",
            "--set",
            setting,
        ];
        let plan = study.cadft(&args).succeeded();
        assert!(plan.stderr.contains(message), "{setting}: {}", plan.stderr);
    }
}

#[test]
fn a_model_without_a_stop_token_is_refused() {
    let study = Study::new();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cadft-cli/assets/quickstart");
    fs::create_dir(study.path("model")).expect("a directory");
    for (file, from, to) in [
        ("tokenizer.json", "", ""),
        ("model.safetensors", "", ""),
        ("config.json", "\"eos_token_id\": 2", "\"eos_token_id\": null"),
        ("tokenizer_config.json", "\"eos_token\": \"<|im_end|>\",", ""),
    ] {
        let mut bytes = fs::read(assets.join(file)).expect("an asset");
        if !from.is_empty() {
            let text = String::from_utf8(bytes).expect("UTF-8");
            assert!(text.contains(from), "{file}");
            let text = text
                .replace(from, to)
                .replace("'<|im_end|>' + '\\\\n'", "'\\\\n'");
            bytes = text.into_bytes();
        }
        fs::write(study.path("model").join(file), bytes).expect("a file");
    }
    study
        .train("run", &["model.path=model"])
        .refused(&["no stop token", "eos_token", "hint:"]);
    let args = [
        "rewrite",
        "run",
        "--model",
        "model",
        "--data",
        "train.jsonl",
        "--out",
        "offline",
    ];
    study.cadft(&args).refused(&["no stop token", "hint:"]);
    assert!(!study.path("run").exists() && !study.path("offline").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_round_and_not_the_run() {
    let study = Study::new();
    let begun = study.path("run/config.resolved.toml");
    let log = study.path("run/rewrites.jsonl");
    // Before the first round, the log is made unwritable.
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !begun.exists() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            fs::create_dir(&log).expect("a directory in the place of the log");
        });
        study.train("run", &[]).succeeded()
    });
    assert!(
        outcome
            .stderr
            .contains("could not be written down and nothing was replaced"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("rewrites.jsonl"), "{}", outcome.stderr);
    assert_eq!(study.events("run", "finished")[0]["steps"], 12);
    assert!(
        study
            .events("run", "rewrote")
            .iter()
            .all(|event| event["replaced"] == 0)
    );
    // A rewrite that was not recorded was not trained on.
    let _ = study.train("without", &["rewrite.warmup=3000"]).succeeded();
    let weights = |out: &str| fs::read(study.path(out).join("model/model.safetensors")).expect("a model");
    assert_eq!(weights("run"), weights("without"));
}

#[test]
fn an_offline_round_leaves_a_data_set_and_its_record() {
    let study = Study::new();
    let source = study.read("train.jsonl");
    let args = [
        "rewrite",
        "run",
        "--model",
        "embedded:quickstart",
        "--data",
        "train.jsonl",
        "--out",
        "offline",
        "--fraction",
        "0.2",
        "--probability",
        "1",
        "--max-new-tokens",
        "48",
        "--json",
    ];
    let round = study.cadft(&args).succeeded();
    let round: Value = serde_json::from_str(&round.stdout).expect("one JSON object");
    // A fifth of 64 samples, of which only those above the mean score qualify.
    assert!(
        (1..=13).contains(&round["chosen"].as_u64().expect("a number")),
        "{round}"
    );
    assert!(round["elapsed_secs"].as_f64() > Some(0.0), "{round}");
    let data = study.read("offline/data.jsonl");
    let changed = data
        .lines()
        .zip(source.lines())
        .filter(|(new, old)| new != old)
        .count();
    assert_eq!(Value::from(changed), round["replaced"]);
    assert!(changed > 0, "{round}");
    let _ = study.cadft(&["rewrite", "replay", "offline"]).succeeded();
    let _ = study.cadft(&["rewrite", "undo", "offline", "--all"]).succeeded();
    let _ = study
        .cadft(&["rewrite", "export", "offline", "--out", "undone.jsonl"])
        .succeeded();
    assert_eq!(study.read("undone.jsonl"), source);
    study
        .cadft(&args)
        .refused(&["`offline` is not empty: `data.jsonl`, `rewrites.jsonl`", "--out"]);
    let wrong = [
        "rewrite",
        "run",
        "--model",
        "embedded:quickstart",
        "--data",
        "train.jsonl",
        "--out",
        "x",
        "--fraction",
        "2",
    ];
    study.cadft(&wrong).refused(&["--fraction", "at most 1"]);
}
