//! The arguments of `cadft`, as typed.

use crate::console::next::Given;
use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

mod bench;
mod compare;
mod completions;
mod data;
mod evaluate;
mod generate;
mod model;
mod probe;
mod push;
mod recipe;
mod recipe_name;
mod report;
mod rewrite;
mod schema;
mod score;
mod selftest;
mod shorthand;
mod source;
mod tokens;
mod train;

pub(crate) use bench::BenchArgs;
pub(crate) use compare::CompareArgs;
pub(crate) use completions::{CompletionsArgs, ManArgs};
pub(crate) use data::*;
pub(crate) use evaluate::{AnswerArgs, EvaluateArgs};
pub(crate) use generate::*;
pub(crate) use model::*;
pub(crate) use probe::ProbeArgs;
pub(crate) use push::PushArgs;
pub(crate) use recipe::*;
pub(crate) use recipe_name::{OptionalRecipe, RequiredRecipe};
pub(crate) use report::ReportArgs;
pub(crate) use rewrite::*;
pub(crate) use schema::SchemaArgs;
pub(crate) use score::ScoreArgs;
pub(crate) use selftest::SelftestArgs;
pub(crate) use shorthand::{AdapterName, ShorthandArgs};
pub(crate) use source::{FormatName, SourceArgs};
pub(crate) use tokens::{MaskName, ScoringArgs, TemplateArgs};
pub(crate) use train::TrainArgs;

/// The heading of options of every command.
const EVERYWHERE: &str = "In every command";

/// Fine-tune language models with Compatibility-Aware Dynamic Fine-Tuning.
#[derive(Debug, Parser)]
#[command(name = "cadft", version, long_version = crate::version::long(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log to standard error; twice for details, three times for everything. `CADFT_LOG` filters by module.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = EVERYWHERE)]
    pub(crate) verbose: u8,
    /// On standard error only warnings and errors: no progress, no summaries, no advice on what comes next.
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model; without a recipe, the embedded quickstart.
    Train(TrainArgs),
    /// Likelihood of demonstrations, and answers by generation.
    Evaluate(EvaluateArgs),
    /// How compatible each demonstration is with a model: score, z-score and weight.
    Score(ScoreArgs),
    /// The gradients of single demonstrations under several objectives, without training.
    Probe(ProbeArgs),
    /// Answer prompts.
    Generate(GenerateArgs),
    /// Talk to a model.
    Chat(ChatArgs),
    /// Look at data.
    #[command(subcommand)]
    Data(DataCommand),
    /// Look at models, or convert them.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Send a trained model or adapter to the Hugging Face Hub, with a card.
    Push(PushArgs),
    /// Look at the record of rewriting, and write the rewritten data.
    #[command(subcommand)]
    Rewrite(RewriteCommand),
    /// List, show, compare and describe recipes.
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Train the same recipe with several objectives and seeds; one table of what came out.
    Compare(CompareArgs),
    /// Write one HTML page about runs.
    Report(ReportArgs),
    /// Say what this build and this machine can do.
    Doctor(DoctorArgs),
    /// Check that a device computes what it should; needs no files.
    Selftest(SelftestArgs),
    /// Measure how fast a device trains a model of some shape; needs its `config.json` only.
    Bench(BenchArgs),
    /// Print the JSON Schema of what a command prints with `--json`.
    Schema(SchemaArgs),
    /// Print the script with which a shell completes commands and options.
    Completions(CompletionsArgs),
    /// Print the manual page.
    Man(ManArgs),
    /// Print the generated parts of the book as one JSON object, Markdown by name.
    #[command(hide = true)]
    Reference,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a command computes.
#[derive(Debug, Default, Args)]
pub(crate) struct DeviceArgs {
    /// A compiled backend: flex, ndarray, cpu, cuda[:N], rocm[:N], metal, vulkan, webgpu, wgpu
    /// [default: flex, else the first compiled one].
    #[arg(long, value_name = "D", help_heading = None::<&str>)]
    pub(crate) device: Option<String>,
}

/// A model and demonstrations.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// A Hugging Face model directory, an adapter, or a run.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// A PEFT adapter of that model, or a run that trained one.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Files, directories and globs, read in this order.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

impl InputArgs {
    /// The model, for commands to go on with.
    pub(crate) fn given(&self) -> Given<'_> {
        Given(&self.model, self.adapter.as_deref())
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        Ok(_) => Err("must be finite and at least 0".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_recipe_is_given_bare_or_as_an_option_and_by_its_older_name() {
        let recipe = |words: &[&str]| match Cli::try_parse_from([&["cadft"], words].concat()) {
            Ok(Cli { command, .. }) => match command {
                Command::Train(args) => args.recipe.name().map(str::to_owned),
                Command::Compare(args) => Some(args.recipe.name().to_owned()),
                Command::Recipe(RecipeCommand::Show(args)) => Some(args.recipe.name().to_owned()),
                Command::Score(args) => args.scoring.tokens.recipe,
                Command::Evaluate(args) => args.scoring.tokens.recipe,
                Command::Rewrite(RewriteCommand::Run(args)) => args.scoring.tokens.recipe,
                other => panic!("no recipe in {other:?}"),
            },
            Err(error) => panic!("{words:?}: {error}"),
        };
        for start in [
            &["train"][..],
            &["compare", "--objectives", "nll"],
            &["recipe", "show"],
        ] {
            for given in [&["my.toml"][..], &["--recipe", "my.toml"]] {
                let words = [start, given].concat();
                assert_eq!(recipe(&words).as_deref(), Some("my.toml"), "{words:?}");
            }
            let twice = [&["cadft"], start, &["a.toml", "--recipe", "b.toml"]].concat();
            assert!(Cli::try_parse_from(twice).is_err(), "{start:?}");
        }
        assert_eq!(recipe(&["train"]), None);
        assert!(Cli::try_parse_from(["cadft", "compare", "--objectives", "nll"]).is_err());
        let input = ["--model", "m", "--data", "d"];
        for start in [&["score"][..], &["evaluate"], &["rewrite", "run", "--out", "o"]] {
            for name in ["--recipe", "--like"] {
                let words = [start, &input, &[name, "my.toml"]].concat();
                assert_eq!(recipe(&words).as_deref(), Some("my.toml"), "{words:?}");
            }
        }
    }
}
