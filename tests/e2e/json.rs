//! What commands print with `--json` is as `cadft schema` says.

use crate::CADFT;
use crate::study::Study;
use cadft_tests::command::{Outcome, lines};
use cadft_tests::schema::problems;
use cadft_tests::{Workspace, fixture};
use serde_json::{Map, Value};

/// The schemas, and the commands that were held against them.
struct Held {
    schemas: Map<String, Value>,
    seen: Vec<String>,
}

impl Held {
    fn new(workspace: &Workspace) -> Self {
        let text = workspace.run(CADFT, &["schema"]).succeeded().stdout;
        Self {
            schemas: serde_json::from_str(&text).expect("one object"),
            seen: vec![],
        }
    }

    /// Holds the lines that a command printed against the schema of `name`.
    fn holds(&mut self, name: &str, outcome: &Outcome) {
        let printed = lines(&outcome.stdout);
        assert!(!printed.is_empty(), "{name}: {}", outcome.stderr);
        assert!(
            !outcome.stderr.contains("next   "),
            "advice is for people: {name}: {}",
            outcome.stderr
        );
        let schema = &self.schemas[name];
        for line in &printed {
            let found = problems(schema, line);
            assert!(found.is_empty(), "{name}: {}\n{line}", found.join("\n"));
        }
        self.seen.push(name.to_owned());
    }

    /// Runs the command of this name with more words.
    fn run(&mut self, workspace: &Workspace, name: &str, words: &str) {
        let args: Vec<&str> = name.split(' ').chain(words.split_whitespace()).collect();
        let outcome = workspace.run(CADFT, &[&args[..], &["--json"]].concat());
        assert!(matches!(outcome.code, Some(0 | 2)), "{name}: {}", outcome.stderr);
        self.holds(name, &outcome);
    }
}

/// Training, and what is said of a model and its data.
fn train_and_look(held: &mut Held, workspace: &Workspace) {
    let train = "recipe.toml --eval answered.jsonl --set schedule.steps=3 --set checkpoint.every=2 --set log.samples=3";
    held.run(workspace, "train --dry-run", train);
    let questions = "--set evaluate.answers=2 --set evaluate.every=2 --set evaluate.max-new-tokens=4";
    held.run(workspace, "train", &format!("{train} {questions} --out run"));
    let resumed = "--resume run --allow-change --steps 5 --set optimizer.lr=1e-4";
    held.run(workspace, "train --dry-run", resumed);
    held.run(workspace, "train", resumed);
    let lora = "--model model --data messages.jsonl --adapter lora --objective nll --steps 1 --out lora";
    held.run(workspace, "train", lora);
    let input = "--model model --data answered.jsonl";
    held.run(workspace, "evaluate", input);
    let asked = format!("{input} --generate --limit 2 --samples 2 --temperature 1 --max-new-tokens 4");
    held.run(workspace, "evaluate", &asked);
    held.run(workspace, "score", input);
    held.run(
        workspace,
        "score",
        "--model model --data messages.jsonl --run run",
    );
    held.run(workspace, "generate", &format!("{input} --max-new-tokens 2"));
    held.run(
        workspace,
        "generate",
        "--model model --prompt hi --max-new-tokens 2 --greedy",
    );
    held.run(workspace, "data inspect", &format!("{input} --limit 2"));
    held.run(
        workspace,
        "data stats",
        &format!("{input} messages.jsonl --max-length 40"),
    );
    held.run(workspace, "data validate", "--data bad.jsonl absent.jsonl");
    held.run(
        workspace,
        "data convert",
        "--data eval.jsonl --to prompt-completion --out converted.jsonl",
    );
    held.run(
        workspace,
        "data corrupt",
        "--data eval.jsonl --share 0.5 --out noisy.jsonl",
    );
    let probed = "--model model --data noisy.jsonl --clean eval.jsonl --objectives nll,cadft --sketch 64";
    held.run(workspace, "probe", probed);
    held.run(workspace, "model inspect", "model");
    held.run(workspace, "model inspect", "lora");
    held.run(workspace, "push", "run o/n --dry-run");
    held.run(workspace, "model merge", "--model lora --out merged");
    held.run(
        workspace,
        "model convert",
        "--model merged --to gguf --out merged.gguf",
    );
    held.run(
        workspace,
        "model convert",
        "--model merged --dtype bf16 --out copy",
    );
    held.run(workspace, "model diff", "model run");
}

/// Recipes, comparisons, and what is said of the machine.
fn compare_and_measure(held: &mut Held, workspace: &Workspace) {
    held.run(workspace, "recipe list", "");
    held.run(workspace, "recipe show", "cadft-paper");
    held.run(workspace, "recipe diff", "recipe.toml recipe.nll.toml");
    let compared = "recipe.toml --objectives nll,dft --seeds 2 --set schedule.steps=1 --out compared";
    held.run(workspace, "compare", compared);
    held.run(workspace, "report", "compared");
    held.run(workspace, "doctor", "");
    held.run(workspace, "selftest", "");
    held.run(
        workspace,
        "bench",
        "--config model --global 2 --length 8 --steps 1 --warmup 0",
    );
}

/// The record of a run with rewriting.
fn rewrite(held: &mut Held) {
    let study = Study::new();
    let _ = study.train("run", &[]).succeeded();
    let mut run = |name: &str, words: &[&str]| {
        let args: Vec<&str> = name.split(' ').chain(words.iter().copied()).collect();
        let outcome = study.cadft(&[&args[..], &["--json"]].concat()).succeeded();
        held.holds(name, &outcome);
    };
    run("rewrite list", &["run"]);
    run("rewrite diff", &["run"]);
    let record = study.log("run", "sample");
    let replaced = record.iter().find(|sample| sample["decision"] == "replaced");
    let id = replaced
        .and_then(|sample| sample["id"].as_str())
        .expect("a rewrite");
    run("rewrite show", &["run", id]);
    run("rewrite export", &["run", "--out", "export.jsonl"]);
    run("rewrite replay", &["run"]);
    run("rewrite undo", &["run", id]);
    let input = &["--model", "embedded:quickstart", "--data", "train.jsonl"][..];
    let round = &["--fraction", "0.1", "--max-new-tokens", "8", "--out", "round"][..];
    run("rewrite run", &[input, round].concat());
}

#[test]
fn every_command_prints_what_its_schema_says() {
    let workspace = Workspace::new();
    let rows = std::fs::read_to_string(fixture("blackbox/eval.jsonl")).expect("rows");
    workspace.write(
        "answered.jsonl",
        &rows.replace("{\"id\"", "{\"answer\": \"4\", \"id\""),
    );
    workspace.write("bad.jsonl", "{\"text\": 1}\n{\n");
    let mut held = Held::new(&workspace);
    train_and_look(&mut held, &workspace);
    compare_and_measure(&mut held, &workspace);
    rewrite(&mut held);
    let left: Vec<_> = held
        .schemas
        .keys()
        .filter(|name| !held.seen.contains(name))
        .collect();
    assert!(left.is_empty(), "no output of {left:?} was read");
}

#[test]
fn one_command_has_one_schema_and_another_has_none() {
    let workspace = Workspace::new();
    let all = Held::new(&workspace).schemas;
    let one = workspace
        .run(CADFT, &["schema", "data", "stats"])
        .succeeded()
        .stdout;
    let one: Value = serde_json::from_str(&one).expect("an object");
    assert_eq!(one, all["data stats"]);
    let plan = workspace
        .run(CADFT, &["schema", "train", "--dry-run", "--quiet"])
        .succeeded()
        .stdout;
    let plan: Value = serde_json::from_str(&plan).expect("an object");
    assert_eq!(plan, all["train --dry-run"]);
    workspace
        .run(CADFT, &["schema", "chat"])
        .refused(&["`chat` prints no JSON", "`data stats`"]);
}
