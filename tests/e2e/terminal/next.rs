//! Every command ends with the one to go on with, unless it is quiet.

use crate::CADFT;
use crate::study::Study;
use crate::wrong_base::train_lora;
use cadft_tests::terminal::run;
use cadft_tests::{Workspace, fixture};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The command, more words, and what to go on with. `NEW` is a name that nothing has yet.
type Case = (&'static str, &'static str, &'static str);

const OF_MODELS_AND_DATA: [Case; 21] = [
    (
        "push",
        "model me/mine --dry-run",
        "the same command without `--dry-run`",
    ),
    (
        "train",
        "recipe.nll.toml --set schedule.steps=1 --out NEW",
        "cadft chat --model NEW",
    ),
    (
        "train",
        "recipe.nll.toml --dry-run",
        "the same command without `--dry-run`",
    ),
    ("train", "--resume lora", "cadft chat --model lora"),
    (
        "evaluate",
        "--model lora --data eval.jsonl",
        "cadft chat --model lora",
    ),
    (
        "evaluate",
        "--model model --adapter lora --data eval.jsonl",
        "cadft chat --model model --adapter lora",
    ),
    (
        "score",
        "--model model --data eval.jsonl",
        "cadft score --model model --data eval.jsonl --keep-below 1.5 --kept FILE",
    ),
    (
        "score",
        "--model model --data eval.jsonl --out NEW.z --keep-below 2 --kept NEW",
        "cadft train --model model --data NEW",
    ),
    (
        "probe",
        "--model model --data eval.jsonl --objectives nll",
        "cadft compare RECIPE --objectives nll",
    ),
    (
        "generate",
        "--model model --prompt hi --max-new-tokens 1",
        "cadft chat --model model",
    ),
    (
        "generate",
        "--model model --data eval.jsonl --max-new-tokens 1",
        "cadft evaluate --model model --data eval.jsonl --generate",
    ),
    (
        "chat",
        "--model model",
        "cadft evaluate --model model --data FILE",
    ),
    (
        "data inspect",
        "--model model --data eval.jsonl --limit 1",
        "cadft train --model model --data eval.jsonl",
    ),
    (
        "data stats",
        "--model model --data eval.jsonl",
        "cadft train --model model --data eval.jsonl",
    ),
    (
        "data validate",
        "--data eval.jsonl",
        "cadft train --model DIR --data eval.jsonl",
    ),
    (
        "data convert",
        "--data eval.jsonl --to prompt-completion --out NEW.jsonl",
        "cadft train --model DIR --data NEW.jsonl",
    ),
    (
        "data corrupt",
        "--data eval.jsonl --share 0.5 --out NEW.jsonl",
        "cadft probe --model DIR --data NEW.jsonl",
    ),
    ("model inspect", "model", "cadft train --model model --data FILE"),
    (
        "model diff",
        "model model",
        "cadft evaluate --model model --data FILE",
    ),
    (
        "model convert",
        "--model model --out NEW",
        "cadft chat --model NEW",
    ),
    ("model merge", "--model lora --out NEW", "cadft chat --model NEW"),
];

const OF_RECIPES_AND_MACHINES: [Case; 13] = [
    ("recipe list", "", "cadft train NAME --model DIR --data FILE"),
    ("recipe show", "quickstart", "cadft train quickstart"),
    ("recipe schema", "", "cadft recipe schema > recipe.schema.json"),
    (
        "recipe diff",
        "recipe.toml recipe.nll.toml",
        "cadft train recipe.nll.toml",
    ),
    (
        "recipe migrate",
        "recipe.toml",
        "cadft recipe migrate recipe.toml --write",
    ),
    (
        "compare",
        "recipe.toml --objectives nll --set schedule.steps=1 --out NEW",
        "open NEW/report.html in a browser",
    ),
    ("report", "lora --out NEW.html", "open NEW.html in a browser"),
    ("doctor", "", "cadft selftest"),
    ("selftest", "", "cadft train --device flex"),
    (
        "bench",
        "--config model --global 2 --length 8 --steps 1 --warmup 0",
        "cadft train --model DIR --data FILE --device flex",
    ),
    ("schema", "data stats", "cadft data stats --json"),
    ("completions", "bash", "cadft completions bash > FILE"),
    ("man", "", "cadft man --out DIR"),
];

const OF_REWRITING: [Case; 7] = [
    ("rewrite list", "run", "cadft rewrite diff run"),
    ("rewrite show", "run ID", "cadft rewrite undo run "),
    ("rewrite diff", "run", "cadft rewrite undo run ID…"),
    (
        "rewrite export",
        "run --out NEW.jsonl",
        "cadft train --model DIR --data NEW.jsonl",
    ),
    ("rewrite replay", "run", "cadft rewrite export run --out FILE"),
    (
        "rewrite run",
        "--model embedded:quickstart --data train.jsonl --fraction 0.1 --max-new-tokens 8 --out NEW",
        "cadft rewrite diff NEW",
    ),
    ("rewrite undo", "run --all", "cadft rewrite export run --out FILE"),
];

/// Holds every case on a terminal, once as it is and, unless its effect can be had only once, once with `--quiet`.
fn hold(cases: &[Case], root: &Path, id: &str) {
    for (number, (name, more, next)) in cases.iter().enumerate() {
        for quiet in [true, false] {
            if quiet && *name == "rewrite undo" {
                continue;
            }
            let new = format!("new-{}-{number}-{quiet}", name.replace(' ', "-"));
            let words = more.split_whitespace().map(|word| {
                if word == "ID" {
                    id.to_owned()
                } else {
                    word.replace("NEW", &new)
                }
            });
            let mut args: Vec<String> = name.split(' ').map(str::to_owned).chain(words).collect();
            args.extend(quiet.then(|| "--quiet".to_owned()));
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let (code, screen) = run(CADFT, root, &args);
            assert_eq!(code, Some(0), "{args:?}: {screen}");
            let said = screen.lines().find(|line| line.starts_with("next "));
            let expected = format!("next   {}", next.replace("NEW", &new));
            let is_as_wanted = said.map_or(quiet, |said| !quiet && said.starts_with(&expected));
            assert!(
                is_as_wanted,
                "{args:?}: {said:?} in place of `{expected}`: {screen}"
            );
        }
    }
}

/// The commands that do something by themselves, by the names of their manual pages.
fn commands(workspace: &Workspace) -> BTreeSet<String> {
    let _ = workspace.run(CADFT, &["man", "--out", "pages"]).succeeded();
    let pages = fs::read_dir(workspace.path("pages")).expect("a directory");
    let names: Vec<String> = pages
        .map(|page| page.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter_map(|name| Some(name.strip_suffix(".1")?.to_owned()))
        .collect();
    let is_last = |name: &&String| !names.iter().any(|other| other.starts_with(&format!("{name}-")));
    let names = names
        .iter()
        .filter(is_last)
        .filter_map(|name| name.strip_prefix("cadft-"));
    names.map(|name| name.replace('-', " ")).collect()
}

#[test]
fn every_command_ends_with_the_one_to_go_on_with() {
    let workspace = Workspace::new();
    train_lora(&workspace);
    let all = [
        &OF_MODELS_AND_DATA[..],
        &OF_RECIPES_AND_MACHINES[..],
        &OF_REWRITING[..],
    ]
    .concat();
    let held: BTreeSet<String> = all.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(held, commands(&workspace), "every command is held");
    hold(&OF_MODELS_AND_DATA, workspace.root(), "");
    hold(&OF_RECIPES_AND_MACHINES, workspace.root(), "");
    let study = Study::new();
    let _ = study.train("run", &[]).succeeded();
    let record = study.log("run", "sample");
    let replaced = record.iter().find(|sample| sample["decision"] == "replaced");
    let id = replaced
        .and_then(|sample| sample["id"].as_str())
        .expect("a rewrite");
    hold(&OF_REWRITING, study.root(), id);
}

#[test]
fn a_command_that_can_be_copied_has_its_names_in_quotes() {
    let workspace = Workspace::new();
    fs::copy(fixture("blackbox/eval.jsonl"), workspace.path("my rows.jsonl")).expect("a copy");
    let said = workspace
        .run(CADFT, &["data", "validate", "--data", "my rows.jsonl"])
        .succeeded();
    assert!(
        said.stderr
            .contains("next   cadft train --model DIR --data 'my rows.jsonl'\n"),
        "{}",
        said.stderr
    );
}
