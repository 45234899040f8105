//! Runs every code block of the README and the book. A block that is not run has its reason above it: `<!-- not run:
//! REASON -->`.
//!
//! Commands run next to a tiny model, under the names that the pages use. The output below `$ COMMAND` in a block is
//! compared. A TOML block is a recipe whose training is planned; JSON is read as data; Rust must be equal to an
//! example, which cargo compiles.

use super::{Cadft, Ran, fixture, ran};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A fenced block of a page.
pub(crate) struct Block {
    page: String,
    line: usize,
    pub(crate) language: String,
    pub(crate) why_not: Option<String>,
    pub(crate) text: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

fn blocks() -> Vec<Block> {
    let mut found = vec![
        root().join("README.md"),
        root().join("crates/cadft-cli/README.md"),
    ];
    pages(&root().join("docs/src"), &mut found);
    // Run from top to bottom by a test of its own.
    found.retain(|page| !page.ends_with("guide/first-hour.md"));
    // Its synopses are generated from the arguments; a test of the library compares them.
    found.retain(|page| !page.ends_with("reference/cli.md"));
    found.sort();
    found.iter().flat_map(|page| blocks_of(page)).collect()
}

pub(crate) fn blocks_of(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).expect("a page");
    let name = page
        .strip_prefix(root())
        .expect("a page of ours")
        .display()
        .to_string();
    let (mut found, mut before, mut open) = (vec![], "", None::<Block>);
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let why_not = before
                    .strip_prefix("<!-- not run: ")
                    .and_then(|rest| rest.strip_suffix(" -->"));
                open = Some(Block {
                    page: name.clone(),
                    line: index + 1,
                    language: language.to_owned(),
                    why_not: why_not.map(str::to_owned),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
        before = line;
    }
    assert!(open.is_none(), "{name}: a block does not end");
    found
}

/// A directory with all files that the pages name.
struct Desk {
    cadft: Cadft,
}

impl Desk {
    fn new(first: &str) -> Self {
        let cadft = Cadft::new();
        for model in ["models/smollm2-135m-instruct", "models/mine"] {
            copy(Path::new(&fixture("model")), &cadft.path(model));
        }
        let rows = |name| fs::read_to_string(fixture(name)).expect("rows");
        for directory in ["more", "chat"] {
            fs::create_dir(cadft.path(directory)).expect("a directory");
            cadft.write(&format!("{directory}/train.jsonl"), &rows("eval.jsonl"));
        }
        let answered = rows("eval.jsonl").replace("{\"id\"", "{\"answer\": \"4\", \"id\"");
        for name in ["eval.jsonl", "questions.jsonl", "clean.jsonl", "math.jsonl"] {
            cadft.write(name, &answered);
        }
        cadft.write("train.jsonl", &rows("messages.jsonl"));
        cadft.write("alpaca.csv", "instruction,output\n2 + 2?,4\n");
        // Two steps say as much about a command as a hundred.
        let short = first.replace("steps = 100", "steps = 2");
        assert_ne!(first, short);
        for name in [
            "first.toml",
            "my.toml",
            "my-recipe.toml",
            "recipe.toml",
            "old.toml",
        ] {
            cadft.write(name, &short);
        }
        cadft.answer(&["train", "first.toml", "--adapter", "lora"]);
        for run in ["second", "nll", "cadft", "mine", "other"] {
            copy(&cadft.path("runs/first"), &cadft.path(&format!("runs/{run}")));
        }
        cadft.answer(&[
            "compare",
            "first.toml",
            "--objectives",
            "nll,dft,cadft",
            "--seeds",
            "3",
        ]);
        fs::rename(cadft.path("runs"), cadft.path("as they were")).expect("a directory");
        Self { cadft }
    }

    /// Runs a shell line, after restoring the runs. For a line that trains, the run directory is removed first.
    fn run(&self, line: &str) -> Ran {
        let runs = self.cadft.path("runs");
        let _ = fs::remove_dir_all(&runs);
        copy(&self.cadft.path("as they were"), &runs);
        if line.starts_with("cadft train")
            && !["--resume", "block.toml"].iter().any(|part| line.contains(part))
        {
            fs::remove_dir_all(runs.join("first")).expect("a run");
        }
        shell(&self.cadft, line)
    }

    /// The problems of a block of commands.
    fn commands(&self, text: &str) -> Vec<String> {
        wrong_with(text, |line| self.run(line))
    }

    fn recipe(&self, text: &str) -> Vec<String> {
        self.cadft.write("block.toml", text);
        let named = if text.contains("train = ") {
            ""
        } else {
            " --data train.jsonl"
        };
        let line = format!("cadft train block.toml --model models/mine{named} --dry-run --out absent");
        self.commands(&line)
    }

    fn rows(&self, text: &str) -> Vec<String> {
        let read = |row: &str| {
            self.cadft.write("row.jsonl", row);
            self.commands("cadft data validate --data row.jsonl")
        };
        text.lines().flat_map(read).collect()
    }
}

/// Runs a line of a shell that knows `cadft`.
pub(crate) fn shell(cadft: &Cadft, line: &str) -> Ran {
    let binary = Path::new(env!("CARGO_BIN_EXE_cadft"))
        .parent()
        .expect("a directory");
    let search = std::env::var("PATH").unwrap_or_default();
    let command = cadft.command(&[]);
    let mut shell = Command::new("sh");
    for (name, value) in command.get_envs() {
        shell.env(name, value.expect("a value"));
    }
    let output = shell
        .args(["-ec", line])
        .current_dir(cadft.path("."))
        .env("PATH", format!("{}:{search}", binary.display()))
        .stdin(Stdio::null())
        .output();
    ran(output.expect("a shell"))
}

/// What is wrong with a block of commands, if anything is. Below `$ COMMAND` are lines that it prints, among others.
pub(crate) fn wrong_with(text: &str, mut run: impl FnMut(&str) -> Ran) -> Vec<String> {
    let mut wrong = vec![];
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").unwrap_or(line);
        if !command.contains("cadft ") {
            wrong.push(format!(
                "`{line}` is no command of ours, and nothing says why it is not run"
            ));
            continue;
        }
        let mut stated = vec![];
        while let Some(next) = lines.next_if(|next| line.starts_with("$ ") && !next.starts_with("$ ")) {
            stated.push(next);
        }
        let is_refused = stated
            .iter()
            .any(|line| line.starts_with("error: ") || line.starts_with("hint: "));
        let expected = match command.split(' ').next() {
            Some("timeout") => 130,
            _ if is_refused => 2,
            _ => 0,
        };
        let said = run(command);
        let all = said.stdout + &said.stderr;
        if said.code != expected {
            wrong.push(format!("`{command}` exits with {}: {all}", said.code));
        }
        for stated in stated {
            if !all.lines().any(|line| says(line.trim_end(), stated)) {
                wrong.push(format!("`{command}` does not say `{stated}`: {all}"));
            }
        }
    }
    wrong
}

/// Whether a line is as a page states it, in which `…` stands for anything.
fn says(line: &str, stated: &str) -> bool {
    let mut parts = stated.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn what_differs_in_a_stated_line_is_left_open_and_nothing_else() {
    assert!(says("a b c", "a b c") && says("a b c", "a … c") && says("a b c", "…c") && says("a b c", "a…"));
    assert!(
        !says("a b c d", "a b c") && !says("a b c", "b…") && !says("a b c", "a … d") && !says("b c", "a…c")
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).expect("a copy");
        }
    }
}

/// The problems of a Rust block that is not a doctest.
fn included(block: &Block) -> Vec<String> {
    let path = block
        .text
        .trim()
        .strip_prefix("{{#include ")
        .and_then(|rest| rest.strip_suffix("}}"));
    let file = path.map(|path| root().join(&block.page).with_file_name(path));
    match file {
        Some(file) if file.is_file() && block.text.contains("/examples/") => vec![],
        _ => vec!["it is not included from an example".to_owned()],
    }
}

#[test]
fn every_block_of_the_book_is_run_or_says_why_not() {
    let blocks = blocks();
    let is_first = |block: &&Block| block.page.ends_with("guide/recipes.md") && block.language == "toml";
    let first = blocks.iter().find(is_first).expect("the recipe of the guide");
    let desk = Desk::new(&first.text);
    let mut wrong = vec![];
    for block in &blocks {
        let found = match (&block.why_not, block.language.as_str()) {
            (Some(why), _) if why.len() < 10 => vec!["the reason is too short".to_owned()],
            (Some(_), _) => vec![],
            (None, "toml") => desk.recipe(&block.text),
            (None, "json") => desk.rows(&block.text),
            (None, "rust,noplayground") => included(block),
            (None, _) => desk.commands(&block.text),
        };
        let place = |what| format!("{}:{}: {what}", block.page, block.line);
        wrong.extend(found.into_iter().map(place));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
