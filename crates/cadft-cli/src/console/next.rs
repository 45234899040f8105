//! The commands to go on with after each command: one function a command. They go to standard error, and are left out
//! with `--quiet` and with `--json`.

use super::{is_quiet, note};
use cadft_files::shown;
use cadft_model::BaseFormat;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the answer is JSON, for another program.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Suggests nothing from now on: the answer is for another program.
pub(crate) fn none() {
    IS_JSON.store(true, Ordering::Relaxed);
}

fn say(commands: &[String]) {
    if is_quiet() || IS_JSON.load(Ordering::Relaxed) {
        return;
    }
    for (number, command) in commands.iter().enumerate() {
        let name = if number == 0 { "next" } else { "" };
        note(format!("{name:<6} {command}"));
    }
}

/// As [`say`], for a command whose answer is a document: in a pipe, it is for another program.
fn say_on_terminal(command: &str) {
    if io::stdout().is_terminal() {
        say(&[command.to_owned()]);
    }
}

/// A word for a shell, in quotes if it needs them.
fn word(text: impl Display) -> String {
    let text = text.to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:@%+=,~".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn path(path: &Path) -> String {
    word(shown(&path))
}

fn words(texts: &[String]) -> String {
    texts.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn chat(model: &str) -> String {
    format!("cadft chat --model {model}")
}

fn train(model: &str, data: &str) -> String {
    format!("cadft train --model {model} --data {data}")
}

/// A model as it was given to a command: `--model`, and `--adapter`.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a>(pub(crate) &'a str, pub(crate) Option<&'a Path>);

impl Given<'_> {
    /// What follows `--model` in a command that takes both.
    fn both(self) -> String {
        let adapter = self.1.map(|adapter| format!(" --adapter {}", path(adapter)));
        word(self.0) + &adapter.unwrap_or_default()
    }

    /// What follows `--model` in `cadft train`: an adapter names its model.
    fn trained(self) -> String {
        self.1.map_or_else(|| word(self.0), path)
    }
}

/// After training that has come to its end. An adapter is merged into the weights that it was trained on.
pub(crate) fn trained(run: &Path, adapter: Option<BaseFormat>) {
    let merge = adapter.map(|base| {
        let base = base.packed().map(|format| format!(" --base {format}"));
        format!(
            "cadft model merge --model {} --out DIR{}",
            path(run),
            base.unwrap_or_default()
        )
    });
    let look = [chat(&path(run)), format!("cadft report {}", path(run))];
    say(&look.into_iter().chain(merge).collect::<Vec<_>>());
}

/// After training that was interrupted.
pub(crate) fn interrupted(run: &Path) {
    say(&[format!("cadft train --resume {}", path(run))]);
}

/// After a run was resumed that had been finished before.
pub(crate) fn finished_before(run: &Path) {
    say(&[
        chat(&path(run)),
        format!(
            "cadft train --resume {} --allow-change --steps N   # goes on to step N",
            path(run)
        ),
    ]);
}

/// After `train --dry-run` and `push --dry-run`.
pub(crate) fn planned() {
    say(&["the same command without `--dry-run`".to_owned()]);
}

/// After `compare` and `report`: the page that they wrote.
pub(crate) fn page(page: &Path) {
    say(&[format!("open {} in a browser", path(page))]);
}

/// After a comparison that was interrupted.
pub(crate) fn compared_in_part() {
    say(&["the same command goes on from here".to_owned()]);
}

/// After `evaluate`.
pub(crate) fn evaluated(model: Given<'_>) {
    say(&[chat(&model.both())]);
}

/// After `score` without `--keep-below`; `has_file` if the scores are in one.
pub(crate) fn scored(model: Given<'_>, data: &[String], has_file: bool) {
    let command = format!(
        "cadft score --model {} --data {} --keep-below 1.5 --kept FILE --dropped FILE   # sorts the rows by z",
        model.both(),
        words(data)
    );
    if has_file {
        say(&[command]);
    } else {
        say_on_terminal(&command);
    }
}

/// After `score --keep-below`, which wrote the rows to `kept`.
pub(crate) fn kept(model: Given<'_>, kept: &Path) {
    say(&[train(&model.trained(), &path(kept))]);
}

/// After `probe`.
pub(crate) fn probed(objectives: &[&str]) {
    say(&[format!(
        "cadft compare RECIPE --objectives {}",
        word(objectives.join(","))
    )]);
}

/// After `generate`; `data` is the file with the prompts, if there is one.
pub(crate) fn generated(model: Given<'_>, data: Option<&str>) {
    say(&[match data {
        None => chat(&model.both()),
        Some(data) => format!(
            "cadft evaluate --model {} --data {} --generate   # compares answers with those of the rows",
            model.both(),
            word(data)
        ),
    }]);
}

/// After `chat`.
pub(crate) fn chatted(model: Given<'_>) {
    say(&[format!("cadft evaluate --model {} --data FILE", model.both())]);
}

/// After `data inspect`, `data stats`, and `data validate` that found nothing.
pub(crate) fn looked_at(model: Option<Given<'_>>, data: &[String]) {
    let model = model.map_or_else(|| "DIR".to_owned(), Given::trained);
    say(&[train(&model, &words(data))]);
}

/// After a command that wrote `data`: `data convert`, `rewrite export`.
pub(crate) fn wrote_data(data: &Path) {
    say(&[train("DIR", &path(data))]);
}

/// After `rewrite export --pairs`: preferences, which this program does not train.
pub(crate) fn wrote_pairs() {
    say(&["a trainer of preferences, such as `DPOTrainer` of TRL, reads the file".to_owned()]);
}

/// After `data corrupt`.
pub(crate) fn corrupted(data: &Path) {
    say(&[format!(
        "cadft probe --model DIR --data {} --objectives nll,cadft",
        path(data)
    )]);
}

/// After `model inspect`.
pub(crate) fn inspected(model: &str) {
    say(&[train(&word(model), "FILE")]);
}

/// After `model diff`.
pub(crate) fn model_diffed(first: &str, second: &str) {
    let evaluate = |model| format!("cadft evaluate --model {} --data FILE", word(model));
    say(&[evaluate(first), evaluate(second)]);
}

/// After a model directory was written: `model merge`, `model convert`.
pub(crate) fn wrote_model(directory: &Path) {
    say(&[chat(&path(directory))]);
}

/// After `model convert --to gguf`.
pub(crate) fn wrote_gguf(file: &Path) {
    say(&[format!("llama-cli -m {}   # of llama.cpp", path(file))]);
}

/// After `rewrite list` and `rewrite run`.
pub(crate) fn rewrites_listed(run: &Path) {
    say(&[format!("cadft rewrite diff {}", path(run))]);
}

/// After `rewrite show`; `is_replaced` if the new text is in force.
pub(crate) fn rewrite_shown(run: &Path, id: &str, is_replaced: bool) {
    say(&[if is_replaced {
        format!("cadft rewrite undo {} {}", path(run), word(id))
    } else {
        format!("cadft rewrite list {} --replaced", path(run))
    }]);
}

/// After `rewrite diff`.
pub(crate) fn rewrites_diffed(run: &Path) {
    let run = path(run);
    say(&[
        format!("cadft rewrite undo {run} ID…"),
        format!("cadft rewrite export {run} --out FILE"),
    ]);
}

/// After `rewrite undo` and `rewrite replay`.
pub(crate) fn rewrites_as_wanted(run: &Path) {
    say(&[format!("cadft rewrite export {} --out FILE", path(run))]);
}

/// After `recipe list`.
pub(crate) fn recipes_listed() {
    say(&[train_recipe("NAME") + " --model DIR --data FILE"]);
}

/// After `recipe show`.
pub(crate) fn recipe_shown(recipe: &str) {
    say_on_terminal(&train_recipe(recipe));
}

/// After `recipe diff`.
pub(crate) fn recipes_diffed(first: &str, second: &str) {
    let are_runs = [first, second].iter().all(|name| Path::new(name).is_dir());
    say(&if are_runs {
        vec![format!("cadft report {} {}", word(first), word(second))]
    } else {
        vec![train_recipe(second)]
    });
}

/// After `recipe migrate`; `is_done` if the file has the present format.
pub(crate) fn recipe_migrated(recipe: &Path, is_done: bool) {
    if is_done {
        say(&[train_recipe(&shown(&recipe).to_string()) + " --dry-run"]);
    } else {
        say_on_terminal(&format!("cadft recipe migrate {} --write", path(recipe)));
    }
}

fn train_recipe(recipe: &str) -> String {
    format!("cadft train {}", word(recipe))
}

/// After `recipe schema`.
pub(crate) fn recipe_schema() {
    say_on_terminal("cadft recipe schema > recipe.schema.json   # for an editor");
}

/// After `push`.
pub(crate) fn pushed(repository: impl Display) {
    say(&[chat(&word(format!("hf://{repository}")))]);
}

/// After `doctor`.
pub(crate) fn examined() {
    say(&["cadft selftest".to_owned()]);
}

/// After `selftest`, which has failed or not.
pub(crate) fn selftested(device: &str, has_failed: bool) {
    say(&[if has_failed {
        "cadft doctor   # what belongs into a report of this".to_owned()
    } else {
        format!("cadft train --device {}   # the quickstart", word(device))
    }]);
}

/// After `bench`.
pub(crate) fn measured(device: &str) {
    say(&[train("DIR", &format!("FILE --device {}", word(device)))]);
}

/// After `schema`; `command` is empty for all commands.
pub(crate) fn schema(command: &str) {
    let command = if command.is_empty() { "COMMAND" } else { command };
    say_on_terminal(&format!("cadft {command} --json"));
}

/// After `completions`.
pub(crate) fn completions(shell: impl Display) {
    say_on_terminal(&format!(
        "cadft completions {shell} > FILE   # a file that {shell} reads when it starts"
    ));
}

/// After `man`; `out` is the directory with the pages, if they are in one.
pub(crate) fn manual(out: Option<&Path>) {
    match out {
        Some(out) => say(&[format!("man {}", path(&out.join("cadft.1")))]),
        None => say_on_terminal("cadft man --out DIR   # a page for each command"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        for (text, quoted) in [
            ("runs/a-1", "runs/a-1"),
            ("hf://O/N@main", "hf://O/N@main"),
            ("my model", "'my model'"),
            ("it's", r"'it'\''s'"),
            ("$x", "'$x'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), quoted);
        }
    }
}
