//! The commands, one file each.

mod bench;
mod chat;
mod compare;
mod completions;
mod data;
mod doctor;
mod evaluate;
mod generate;
mod model;
mod probe;
mod push;
mod recipe;
mod reference;
mod report;
mod rewrite;
mod schema;
mod schemas;
mod score;
mod selftest;
mod train;

pub(crate) use schemas::schemas;

use crate::args::{Command, DataCommand, ModelCommand, RecipeCommand};
use crate::exit::Exit;
use anyhow::Result;

/// Runs a command.
pub(crate) fn run(command: &Command) -> Result<Exit> {
    match command {
        Command::Train(args) => return train::run(args),
        Command::Compare(args) => return compare::run(args),
        Command::Selftest(args) => return selftest::run(args),
        Command::Bench(args) => return bench::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Score(args) => score::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Chat(args) => return chat::run(args),
        Command::Data(DataCommand::Inspect(args)) => data::inspect::run(args),
        Command::Data(DataCommand::Stats(args)) => data::stats::run(args),
        Command::Data(DataCommand::Validate(args)) => return data::validate::run(args),
        Command::Data(DataCommand::Convert(args)) => data::convert::run(args),
        Command::Data(DataCommand::Corrupt(args)) => data::corrupt::run(args),
        Command::Model(ModelCommand::Inspect(args)) => model::inspect(args),
        Command::Model(ModelCommand::Convert(args)) => model::convert(args),
        Command::Model(ModelCommand::Diff(args)) => model::diff(args),
        Command::Model(ModelCommand::Merge(args)) => model::merge(args),
        Command::Recipe(RecipeCommand::List(args)) => recipe::list(args),
        Command::Recipe(RecipeCommand::Show(args)) => recipe::show(args),
        Command::Recipe(RecipeCommand::Schema) => recipe::schema(),
        Command::Recipe(RecipeCommand::Diff(args)) => recipe::diff(args),
        Command::Recipe(RecipeCommand::Migrate(args)) => recipe::migrate(args),
        Command::Push(args) => push::run(args),
        Command::Report(args) => report::run(args),
        Command::Rewrite(command) => rewrite::run(command),
        Command::Doctor(args) => doctor::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => completions::man(args),
        Command::Reference => reference::run(),
    }?;
    Ok(Exit::Done)
}
