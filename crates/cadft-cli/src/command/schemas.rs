//! What each command prints with `--json`, one object or one object a line, as JSON Schemas of the types that are printed.

use super::{
    bench, compare, data, doctor, evaluate, generate, model, probe, push, recipe, rewrite, score, selftest,
    train,
};
use crate::facts::{Converted, Corrupted, Merged, Rewritten, Undone, WrittenPage, WrittenRows};
use crate::schema::schema;
use cadft_data::Stats;
use cadft_train::Event;
use cadft_train::config::{self, Difference};
use cadft_train::rewrite::{RoundSummary, SampleRecord};
use serde_json::Value;

/// The commands by name, in the order of the help.
pub(crate) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("train", schema::<Event>()),
        ("train --dry-run", schema::<train::Planned<'_>>()),
        ("evaluate", schema::<evaluate::Report>()),
        ("score", schema::<score::Line<'_>>()),
        ("probe", schema::<probe::Found>()),
        ("generate", schema::<generate::Answer<'_>>()),
        ("data inspect", schema::<data::inspect::Sample<'_>>()),
        ("data stats", schema::<Stats>()),
        ("data validate", schema::<data::validate::Line<'_>>()),
        ("data convert", schema::<WrittenRows>()),
        ("data corrupt", schema::<Corrupted>()),
        ("model inspect", schema::<model::Inspection>()),
        ("model convert", schema::<Converted>()),
        ("model diff", schema::<model::Line<'_>>()),
        ("model merge", schema::<Merged>()),
        ("push", schema::<push::Report>()),
        ("rewrite list", schema::<rewrite::Line<'_>>()),
        ("rewrite show", schema::<SampleRecord>()),
        ("rewrite diff", schema::<Rewritten<'_>>()),
        ("rewrite undo", schema::<Undone>()),
        ("rewrite export", schema::<WrittenRows>()),
        ("rewrite replay", schema::<rewrite::Replayed<'_>>()),
        ("rewrite run", schema::<RoundSummary>()),
        ("recipe list", schema::<recipe::Listed>()),
        ("recipe show", config::schema()),
        ("recipe diff", schema::<Difference>()),
        ("compare", schema::<compare::Table>()),
        ("report", schema::<WrittenPage>()),
        ("doctor", schema::<doctor::Diagnosis>()),
        ("selftest", schema::<selftest::Line<'_>>()),
        ("bench", schema::<bench::Measured>()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::{Command, CommandFactory};

    fn with_json(name: &str, command: &Command, found: &mut Vec<String>) {
        if command
            .get_arguments()
            .any(|argument| argument.get_long() == Some("json"))
        {
            found.push(name.to_owned());
        }
        for below in command.get_subcommands() {
            with_json(format!("{name} {}", below.get_name()).trim_start(), below, found);
        }
    }

    #[test]
    fn every_command_with_json_has_a_schema() {
        let mut found = vec![];
        with_json("", &Cli::command(), &mut found);
        let mut named: Vec<_> = schemas().iter().map(|(name, _)| (*name).to_owned()).collect();
        named.retain(|name| name != "train --dry-run");
        assert_eq!(named, found);
    }
}
