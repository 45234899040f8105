//! The page of the first hour, from top to bottom: what it states is said, and its table counts the commands.

use super::book::{Block, blocks_of, root, shell, wrong_with};
use super::{Cadft, fixture};
use std::fs;
use std::time::Instant;

const PAGE: &str = "docs/src/guide/first-hour.md";

/// A directory with what the page begins with.
fn desk() -> Cadft {
    let cadft = Cadft::new();
    let model = cadft.path("models/smollm2-135m-instruct");
    fs::create_dir_all(&model).expect("a directory");
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(fixture(&format!("model/{file}")), model.join(file)).expect("a copy");
    }
    let rows = fs::read_to_string(fixture("messages.jsonl")).expect("rows");
    cadft.write("train.jsonl", &rows);
    cadft.write("many.jsonl", &rows.repeat(20));
    fs::copy(fixture("eval.jsonl"), cadft.path("eval.jsonl")).expect("a copy");
    cadft
}

/// The jobs of the table and of the headings: number and title, and for the table the commands.
fn jobs(text: &str) -> (Vec<(String, usize)>, Vec<String>) {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        Some((cells.next()?.to_owned(), cells.next()?.parse().ok()?))
    });
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    (rows.collect(), headings.map(str::to_owned).collect())
}

fn commands(block: &Block) -> impl Iterator<Item = &str> {
    let is_run = block.why_not.is_none();
    (block.text.lines()).filter(move |line| is_run && line.starts_with("$ "))
}

#[test]
fn the_page_of_the_first_hour_holds_and_counts_its_commands() {
    let path = root().join(PAGE);
    let text = fs::read_to_string(&path).expect("the page");
    let blocks = blocks_of(&path);
    let cadft = desk();
    let mut took = vec![];
    let mut wrong = vec![];
    for block in &blocks {
        match &block.why_not {
            Some(why) => assert!(why.len() > 10, "{}: `{why}` is no reason", block.text),
            None => wrong.extend(wrong_with(&block.text, |line| {
                let begun = Instant::now();
                let ran = shell(&cadft, line);
                took.push((begun.elapsed().as_secs_f64(), line.to_owned()));
                ran
            })),
        }
    }
    for (secs, line) in &took {
        println!("{secs:6.2} s  {line}");
    }
    println!("{:6.2} s", took.iter().map(|(secs, _)| secs).sum::<f64>());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let gguf = fs::read(cadft.path("merged.gguf")).expect("a file");
    assert!(gguf.starts_with(b"GGUF"), "it is one");
    let (table, headings) = jobs(&text);
    let (total, table) = table.split_last().expect("a table");
    let titles: Vec<_> = table.iter().map(|(title, _)| title.clone()).collect();
    assert_eq!(titles, headings, "the table has the jobs");
    assert_eq!(headings.len(), 12);
    let mut parts = text.split("\n## ").skip(1);
    for (title, count) in table {
        let part = parts.next().expect("a part");
        let of_part: usize = blocks
            .iter()
            .filter(|block| part.contains(&block.text))
            .map(|block| commands(block).count())
            .sum();
        assert_eq!(of_part, *count, "commands of `{title}`");
    }
    assert_eq!((total.0.as_str(), total.1), ("all", took.len()));
}
