//! `cadft rewrite`: the record of rewriting, and the rewritten data.

mod data;
mod offline;

pub(super) use data::Replayed;

use crate::args::{
    RecordArgs, RewriteCommand, RewriteDiffArgs, RewriteListArgs, RewriteShowArgs, RewriteUndoArgs,
};
use crate::console::{counted, next};
use crate::facts::{Rewritten, Undone};
use crate::hint::UsageError;
use crate::output;
use crate::row_texts::{RowText, row_texts};
use crate::shown::Shown;
use anyhow::Result;
use cadft_files::visible_name;
use cadft_train::RunDirectory;
use cadft_train::rewrite::{
    Decision, Record, RewriteLog, SampleRecord, Side, UndoRecord, is_undone, read_log,
};
use cadft_train::run_files::REWRITES;
use comfy_table::{Table, presets};
use console::Style;
use schemars::JsonSchema;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};
use std::collections::HashMap;
use std::path::PathBuf;

/// Runs one of the commands.
pub(crate) fn run(command: &RewriteCommand) -> Result<()> {
    match command {
        RewriteCommand::List(args) => list(args),
        RewriteCommand::Show(args) => show(args),
        RewriteCommand::Diff(args) => diff(args),
        RewriteCommand::Undo(args) => undo(args),
        RewriteCommand::Export(args) => data::export(args),
        RewriteCommand::Replay(args) => data::replay(args),
        RewriteCommand::Run(args) => offline::run(args),
    }
}

/// The log of a run, read.
struct Log {
    path: PathBuf,
    records: Vec<Record>,
}

impl Log {
    fn open(args: &RecordArgs) -> Result<Self> {
        let path = if args.run.is_dir() {
            args.run.join(REWRITES)
        } else {
            args.run.clone()
        };
        let records = read_log(&path)?;
        Ok(Self { path, records })
    }

    /// The decisions of all rounds, each with whether it was undone later.
    fn samples(&self) -> impl Iterator<Item = (&SampleRecord, bool)> {
        (self.records.iter().enumerate()).filter_map(|(place, record)| match record {
            Record::Sample(sample) => Some((sample, is_undone(&self.records, place))),
            _ => None,
        })
    }

    /// The samples whose text is replaced at present, each once.
    fn rewritten(&self) -> Vec<&SampleRecord> {
        let mut samples: Vec<&SampleRecord> = vec![];
        for (sample, undone) in self.samples() {
            if sample.decision == Decision::Replaced && !undone {
                samples.retain(|earlier| earlier.sample != sample.sample);
                samples.push(sample);
            }
        }
        samples
    }

    /// The samples of [`Log::rewritten`] with these ids, or all. An error names every id that is not among them.
    fn rewritten_of(&self, ids: &[String]) -> Result<Vec<&SampleRecord>> {
        let rewritten = self.rewritten();
        let unknown: Vec<_> = (ids.iter())
            .filter(|id| rewritten.iter().all(|sample| sample.id != **id))
            .map(|id| format!("`{id}`"))
            .collect();
        if !unknown.is_empty() {
            return Err(UsageError::new(
                format!(
                    "{}: no rewrite of {} is in force",
                    cadft_files::shown(&self.path),
                    unknown.join(", ")
                ),
                "`cadft rewrite list RUN --replaced` has those that are",
            )
            .into());
        }
        Ok(rewritten
            .into_iter()
            .filter(|sample| ids.is_empty() || ids.contains(&sample.id))
            .collect())
    }
}

impl Log {
    /// The prompts of samples by id; empty if the data are no longer where they were.
    fn prompts<'a>(&self, samples: impl Iterator<Item = &'a SampleRecord>) -> HashMap<String, RowText> {
        let Some(Record::Header(header)) = self.records.first() else {
            return HashMap::new();
        };
        let ids = samples.map(|sample| sample.id.as_str()).collect();
        row_texts(&header.data.train, &header.recipe().mixing(), &ids)
    }
}

/// The prompt of a sample as a line of output, if it is known.
fn prompt_of(prompts: &HashMap<String, RowText>, id: &str) -> Option<String> {
    prompts.get(id)?.question.clone()
}

/// One line of `list --json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Line<'a> {
    /// The step after which the round took place; 0 for a round without training.
    step: usize,
    /// The row's id.
    id: &'a str,
    /// `replaced`, `kept` or `undone`.
    decision: &'static str,
    /// Why it keeps its target; null if it does not.
    reason: Option<String>,
    /// Moving average of its standardised scores.
    average: f64,
    /// How many there were.
    observations: u32,
    /// The score of what was there; null where no candidate was drawn.
    old_score: Option<f64>,
    /// The score of the candidate.
    new_score: Option<f64>,
}

impl<'a> Line<'a> {
    fn new(sample: &'a SampleRecord, is_undone: bool) -> Self {
        let score = |side: &Option<Side>| side.as_ref().and_then(|side| side.score);
        Self {
            step: sample.step,
            id: &sample.id,
            decision: match sample.decision {
                Decision::Replaced if is_undone => "undone",
                Decision::Replaced => "replaced",
                Decision::Kept => "kept",
            },
            reason: sample.reason.map(reason),
            average: sample.average,
            observations: sample.observations,
            old_score: score(&sample.old),
            new_score: score(&sample.new),
        }
    }
}

/// A reason or another word, in the spelling of the log.
fn reason(reason: impl Serialize) -> String {
    let value = serde_json::to_value(reason).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn list(args: &RewriteListArgs) -> Result<()> {
    let log = Log::open(&args.record)?;
    let mut lines = (log.samples().map(|(sample, undone)| Line::new(sample, undone)))
        .filter(|line| !args.replaced || line.decision == "replaced");
    if args.json {
        return lines.try_for_each(|line| output::json_line(&line));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "step",
        "id",
        "decision",
        "reason",
        "average",
        "seen",
        "old score",
        "new score",
    ]);
    for line in lines {
        let score = |score: Option<f64>| score.map_or_else(String::new, |score| format!("{score:.4}"));
        table.add_row([
            line.step.to_string(),
            visible_name(line.id).into_owned(),
            line.decision.to_owned(),
            line.reason.unwrap_or_default(),
            format!("{:.3}", line.average),
            line.observations.to_string(),
            score(line.old_score),
            score(line.new_score),
        ]);
    }
    output::grid(&table)?;
    next::rewrites_listed(&args.record.run);
    Ok(())
}

fn show(args: &RewriteShowArgs) -> Result<()> {
    let log = Log::open(&args.record)?;
    let records: Vec<(&SampleRecord, bool)> =
        log.samples().filter(|(sample, _)| sample.id == args.id).collect();
    if records.is_empty() {
        return Err(UsageError::new(
            format!(
                "{}: nothing is on record about `{}`",
                cadft_files::shown(&log.path),
                args.id
            ),
            "`cadft rewrite list RUN` has the samples of every round",
        )
        .into());
    }
    let prompts = log.prompts(records.iter().map(|(sample, _)| *sample));
    let is_replaced = log.rewritten().iter().any(|sample| sample.id == args.id);
    for (number, (sample, undone)) in records.into_iter().enumerate() {
        if args.json {
            output::json_line(sample)?;
            continue;
        }
        if number > 0 {
            output::line("")?;
        }
        let line = Line::new(sample, undone);
        let mut rows = vec![
            ("id", sample.id.clone()),
            ("step", line.step.to_string()),
            ("decision", line.decision.to_owned()),
            (
                "average",
                format!(
                    "{:.4} over {}, the last {:.4}",
                    line.average,
                    counted(line.observations as usize, "observation"),
                    sample.last_z
                ),
            ),
        ];
        rows.extend(line.reason.map(|reason| ("reason", reason)));
        rows.extend(sample.seed.map(|seed| ("seed", seed.to_string())));
        output::table(&rows)?;
        if let Some(prompt) = prompt_of(&prompts, &sample.id) {
            output::line(format!("--- prompt\n{prompt}"))?;
        }
        for (name, side) in [("old", &sample.old), ("new", &sample.new)] {
            if let Some(side) = side {
                let score = side
                    .score
                    .map_or_else(String::new, |score| format!(", score {score:.4}"));
                output::line(format!(
                    "--- {name}: {}{score}\n{}",
                    counted(side.token_ids.len(), "token"),
                    side.text
                ))?;
            }
        }
    }
    next::rewrite_shown(&args.record.run, &args.id, is_replaced);
    Ok(())
}

fn diff(args: &RewriteDiffArgs) -> Result<()> {
    let log = Log::open(&args.record)?;
    let samples = log.rewritten_of(&args.ids)?;
    let prompts = log.prompts(samples.iter().copied());
    if args.json {
        return samples
            .into_iter()
            .try_for_each(|sample| rewritten(sample, &prompts));
    }
    for (number, sample) in samples.into_iter().enumerate() {
        if number > 0 {
            output::line("")?;
        }
        if let (Some(old), Some(new)) = (&sample.old, &sample.new) {
            output::line(format!("{} (step {})", visible_name(&sample.id), sample.step))?;
            if let Some(prompt) = prompt_of(&prompts, &sample.id) {
                output::line(format!("> {}", prompt.trim_end().replace('\n', "\n> ")))?;
            }
            output::line(difference(&old.text, &new.text))?;
        }
    }
    next::rewrites_diffed(&args.record.run);
    Ok(())
}

/// Prints a rewritten sample as JSON.
fn rewritten(sample: &SampleRecord, prompts: &HashMap<String, RowText>) -> Result<()> {
    let (Some(old), Some(new)) = (&sample.old, &sample.new) else {
        return Ok(());
    };
    output::json_line(&Rewritten {
        id: &sample.id,
        step: sample.step,
        prompt: prompts.get(&sample.id).and_then(|text| text.question.as_deref()),
        old: &old.text,
        new: &new.text,
    })
}

/// The difference of two texts, word by word: `[-old-]` and `{+new+}`, coloured on a terminal.
fn difference(old: &str, new: &str) -> Shown {
    let (red, green) = (Style::new().for_stdout().red(), Style::new().for_stdout().green());
    let diff = TextDiff::from_words(old, new);
    let changes: Vec<_> = diff.iter_all_changes().collect();
    let groups = changes.chunk_by(|a, b| a.tag() == b.tag());
    groups
        .map(|group| {
            let words: String = group.iter().map(similar::Change::value).collect();
            match group[0].tag() {
                ChangeTag::Equal => Shown::from(words),
                ChangeTag::Delete => Shown::styled(&red, &format!("[-{words}-]")),
                ChangeTag::Insert => Shown::styled(&green, &format!("{{+{words}+}}")),
            }
        })
        .collect()
}

fn undo(args: &RewriteUndoArgs) -> Result<()> {
    let given = args.record.run.as_path();
    let run = if given.is_dir() {
        Some(given)
    } else {
        given.parent()
    };
    let run = run.filter(|run| RunDirectory::is_taken(run));
    // A running run keeps the log in memory, and would not see lines that are appended here.
    let _held = run.map(RunDirectory::hold).transpose()?;
    let log = Log::open(&args.record)?;
    let records: Vec<Record> = (log.rewritten_of(&args.ids)?.into_iter())
        .map(|sample| {
            Record::Undo(UndoRecord {
                sample: sample.sample,
                id: sample.id.clone(),
            })
        })
        .collect();
    RewriteLog::open(&log.path)?.append(&records)?;
    crate::console::note(format!(
        "{} undone; the log keeps them",
        counted(records.len(), "rewrite")
    ));
    next::rewrites_as_wanted(&args.record.run);
    if args.json {
        return output::json_line(&Undone {
            undone: records.len(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_marked_word_by_word() {
        console::set_colors_enabled(false);
        assert_eq!(
            difference("4 + 3 = 8\n#### 8", "4 + 3 = 7\n#### 7").as_str(),
            "4 + 3 = [-8-]{+7+}\n#### [-8-]{+7+}"
        );
    }
}
