//! What somebody does in the first hour, job by job: what the page of the book cannot state, such as the files that are left.

use super::{Cadft, Ran, fixture, json_lines};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A directory with a model and data.
struct Hour {
    cadft: Cadft,
    model: String,
}

impl Hour {
    fn new() -> Self {
        let cadft = Cadft::new();
        for file in ["messages.jsonl", "eval.jsonl"] {
            fs::copy(fixture(file), cadft.path(file)).expect("a copy");
        }
        Self {
            cadft,
            model: fixture("model"),
        }
    }

    /// Runs `cadft`; the word `MODEL` stands for the model's path.
    fn run(&mut self, words: &str) -> Ran {
        let words: Vec<&str> = words.split_whitespace().collect();
        let args: Vec<&str> = words
            .iter()
            .map(|word| if *word == "MODEL" { &self.model } else { *word })
            .collect();
        self.cadft.run(&args)
    }

    fn does(&mut self, words: &str) -> Ran {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "{words}: {}{}", ran.stdout, ran.stderr);
        ran
    }

    fn refuses(&mut self, words: &str, parts: &[&str]) {
        let ran = self.run(words);
        assert_eq!(ran.code, 2, "{words}: {}", ran.stderr);
        for part in parts {
            assert!(
                ran.stderr.contains(part),
                "{words}: `{part}` is not in\n{}",
                ran.stderr
            );
        }
    }

    /// Starts `cadft`, and interrupts it as Ctrl-C does as soon as `is_time` returns true. Returns its standard error.
    fn stops(&self, words: &[&str], is_time: impl Fn() -> bool) -> String {
        let child = (self.cadft.command(words).stderr(Stdio::piped()).spawn()).expect("it starts");
        let begun = Instant::now();
        while !is_time() {
            assert!(begun.elapsed() < Duration::from_secs(120), "it did not begin");
            sleep(Duration::from_millis(5));
        }
        let kill = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(kill.is_ok_and(|status| status.success()));
        let ran = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(130), "{said}");
        said
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.cadft.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Jobs 1 to 4: train a LoRA adapter on one's own data, chat with it, merge it, compare objectives, and look at the
/// results.
fn train_merge_and_compare(hour: &mut Hour) {
    let ran = hour.does(
        "train --model MODEL --data messages.jsonl --eval eval.jsonl --adapter lora --steps 3 --out lora",
    );
    for part in [
        "[adapter]",
        "steps = 3",
        "next   cadft chat --model lora",
        "cadft model merge --model lora",
    ] {
        assert!(ran.stderr.contains(part), "`{part}` is not in\n{}", ran.stderr);
    }
    assert!(hour.read("lora/recipe.toml").contains("kind = \"lora\""));
    let answer = hour.does("generate --model lora --prompt hello --max-new-tokens 4 --greedy");
    assert!(!answer.stdout.is_empty());
    let inspected = hour.does("model inspect lora --json").stdout;
    assert_eq!(json_lines(&inspected)[0]["adapter"]["rank"], 16);

    let merged = hour.does("model merge --model lora --out merged --json").stdout;
    assert!(
        json_lines(&merged)[0]["difference"]
            .as_f64()
            .is_some_and(|difference| difference < 1e-4)
    );
    let written = hour
        .does("model convert --model merged --to gguf --out merged.gguf --json")
        .stdout;
    assert_eq!(json_lines(&written)[0]["dtype"], "F16");
    hour.refuses(
        "model convert --model lora --to gguf --out no.gguf",
        &["is an adapter", "cadft model merge --model lora"],
    );

    let compared =
        "compare lora/recipe.toml --objectives nll,dft --seeds 2 --set schedule.steps=2 --out compared";
    hour.does(compared);
    hour.does("report compared");
    let page = hour.read("compared/report.html");
    assert!(
        page.contains("id=\"comparison\"") && page.contains("±"),
        "the table comes first"
    );
    hour.does("report lora --out page.html");
    assert!(
        hour.read("page.html").contains("How many"),
        "texts of samples are read again"
    );
}

/// Job 5: sort out rows that do not fit.
fn sort_rows(hour: &mut Hour) {
    let ran = hour.does("score --model MODEL --data messages.jsonl --out z.jsonl --keep-below 0.5 --kept kept.jsonl --dropped dropped.jsonl");
    assert!(
        ran.stderr.contains("rows (`kept.jsonl`), dropped: "),
        "{}",
        ran.stderr
    );
    let below = json_lines(&hour.read("z.jsonl"))
        .iter()
        .filter(|line| line["z"].as_f64() < Some(0.5))
        .count();
    let [kept, dropped, all] = ["kept.jsonl", "dropped.jsonl", "messages.jsonl"].map(|name| hour.read(name));
    assert_eq!(kept.lines().count(), below);
    assert!(below > 0 && !dropped.is_empty());
    let mut lines: Vec<&str> = kept.lines().chain(dropped.lines()).collect();
    let mut expected: Vec<&str> = all.lines().collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected, "every row is in one of the two, as it was");
    hour.refuses(
        "score --model MODEL --data messages.jsonl --keep-below 1",
        &["--kept"],
    );
}

/// Job 6: stop a run, ask where it would continue, continue it, change a setting, and see that it is finished.
fn stop_and_go_on(hour: &mut Hour) {
    let words = [
        "train",
        "--model",
        &hour.model,
        "--data",
        "messages.jsonl",
        "--steps",
        "4000",
        "--out",
        "long",
    ];
    let metrics = hour.cadft.path("long/metrics.jsonl");
    let said = hour.stops(&words, || {
        fs::read_to_string(&metrics).is_ok_and(|text| text.contains("\"step\":2,"))
    });
    assert!(said.contains("next   cadft train --resume long"), "{said}");

    let planned = hour
        .does("train --resume long --allow-change --steps 40 --dry-run --json")
        .stdout;
    let planned: Value = json_lines(&planned).remove(0);
    let step = planned["resume"]["step"].as_u64().expect("a step");
    assert_eq!(planned["resume"]["changed"][0]["key"], "schedule.steps");
    let last = step + 2;
    hour.refuses(
        &format!("train --resume long --steps {last}"),
        &["`schedule.steps`", "--allow-change"],
    );
    hour.does(&format!("train --resume long --allow-change --steps {last}"));
    assert!(
        hour.read("long/config.resolved.toml")
            .starts_with(&format!("# Changed after step {step}:\n#   `schedule.steps`"))
    );
    let again = hour.does(&format!("train --resume long --steps {last}"));
    assert!(
        again.stderr.contains("already finished at step"),
        "{}",
        again.stderr
    );
}

/// Jobs 7 to 12: typos, memory, TensorBoard, and help for missing features.
fn find_help(hour: &mut Hour) {
    hour.refuses(
        "train --model MODEL --data messages.jsonl --set lr=1e-3",
        &["`--set lr=1e-3`", "did you mean `optimizer.lr`"],
    );
    hour.refuses(
        "train --model MODEL --data messages.jsonl --learning-rate 1e-3",
        &["--learning-rate", "`--set optimizer.lr=VALUE`"],
    );
    hour.refuses(
        "train --model MODEL --data messages.jsonl --set batch.global=0",
        &["`--set batch.global=0`: `batch.global`: must be at least 1"],
    );
    hour.refuses("train --model MODEL --data mesages.jsonl", &["mesages.jsonl"]);
    hour.refuses("train quickstrat", &["did you mean `quickstart`"]);
    hour.refuses("train --model MODEL", &["`--data FILE`"]);
    hour.refuses(
        "train --model MODEL --data messages.jsonl --objective dtf",
        &["dft"],
    );
    let planned = hour
        .does("train --model MODEL --data messages.jsonl --dry-run --json")
        .stdout;
    assert!(
        json_lines(&planned)[0]["memory_mib"]
            .as_f64()
            .is_some_and(|mib| mib > 0.0)
    );
    hour.does(
        "train lora-8gb --model MODEL --data messages.jsonl --steps 2 --set log.tensorboard=true --out board",
    );
    assert!(hour.cadft.path("board/tensorboard").is_dir());
    hour.refuses("chat --model MODEL --adapter MODEL", &["hint:"]);
}

#[test]
fn the_jobs_of_the_first_hour_leave_what_they_should() {
    let mut hour = Hour::new();
    train_merge_and_compare(&mut hour);
    sort_rows(&mut hour);
    stop_and_go_on(&mut hour);
    find_help(&mut hour);
}

#[test]
fn a_run_that_is_stopped_in_its_first_evaluation_evaluates_when_it_goes_on() {
    let hour = Hour::new();
    let rows = hour.read("eval.jsonl").repeat(400);
    hour.cadft.write("many.jsonl", &rows);
    let words = [
        "train",
        "--model",
        &hour.model,
        "--data",
        "messages.jsonl",
        "--eval",
        "many.jsonl",
        "--steps",
        "2",
        "--out",
        "run",
    ];
    let said = hour.stops(&words, || hour.cadft.path("run/history.jsonl").is_file());
    assert!(
        said.contains("0 steps") && said.contains("cadft train --resume run"),
        "{said}"
    );
    assert!(
        !hour.read("run/metrics.jsonl").contains("\"evaluated\""),
        "nothing of it is reported"
    );
    hour.cadft.answer(&["train", "--resume", "run"]);
    hour.cadft
        .answer(&[&words[..words.len() - 1], &["whole"]].concat());
    let metrics = |run: &str| -> Vec<Value> {
        let lines = json_lines(&hour.read(&format!("{run}/metrics.jsonl")));
        let kept = lines.into_iter().map(|mut line| {
            for moment in ["tokens_per_sec", "peak_rss_mib", "elapsed_secs", "model"] {
                line.as_object_mut().expect("an object").remove(moment);
            }
            line
        });
        kept.collect()
    };
    assert_eq!(metrics("run"), metrics("whole"), "as if it had not been stopped");
}
