//! The arguments of `cadft`, as typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Fine-tune language models with Compatibility-Aware Dynamic Fine-Tuning.
#[derive(Debug, Parser)]
#[command(name = "cadft", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model; without a recipe, the embedded quickstart.
    Train(TrainArgs),
    /// Likelihood of demonstrations, and answers by generation.
    Evaluate(EvaluateArgs),
    /// Likelihood, z-score and CADFT weight of each demonstration, as JSON Lines.
    Score(ScoreArgs),
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
    /// List and show recipes.
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Say what this build and this machine can do.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// A recipe file, or the name of an embedded recipe (`cadft recipe list`).
    #[arg(long, value_name = "FILE|NAME", default_value = "quickstart")]
    pub(crate) recipe: String,
    /// Change a value of the recipe, as in `--set optimizer.lr=1e-5`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Directory of the run; wins over `run.out`. Without either: a new one under `runs`.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Read and check everything, say what would be done, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print every event of the run as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Also answer the first N rows that have an `answer`, greedily; without N, all of them.
    #[arg(long, value_name = "N", num_args = 0..=1)]
    pub(crate) answers: Option<Option<usize>>,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub(crate) max_new_tokens: usize,
    /// Samples of one forward pass.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub(crate) micro: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Write the lines to this file instead of standard output.
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) out: Option<PathBuf>,
    /// Strength of the weights.
    #[arg(long, value_name = "B", default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) beta: f64,
    /// Samples of one forward pass.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub(crate) micro: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Has no effect: the output is JSON Lines.
    #[arg(long, hide = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// A Hugging Face model directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// One prompt; a user's turn where the model has a chat template.
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "data",
        conflicts_with = "data"
    )]
    pub(crate) prompt: Option<String>,
    /// A JSON Lines file, whose prompts are answered.
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
    /// Go on from the prompt as it is, without the chat template.
    #[arg(long, conflicts_with = "data")]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Prompts that are answered at the same time; does not change the answers.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive)]
    pub(crate) batch: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object a prompt.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// A Hugging Face model directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// A system message to begin with.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// Always take the most probable token, instead of drawing one.
    #[arg(long, conflicts_with_all = ["temperature", "top_p", "seed"])]
    pub(crate) greedy: bool,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub(crate) max_new_tokens: usize,
    /// Above 1 flattens the distribution, below 1 sharpens it.
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    pub(crate) temperature: f64,
    /// Draw from the most probable tokens that have this much probability together.
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub(crate) top_p: f64,
    /// Seed of the draws.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Show which tokens are trained.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Show the first N samples only.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Which tokens are trained.
    #[arg(long, value_enum, default_value = "assistant")]
    pub(crate) mask: MaskName,
    /// Longest sample in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = positive)]
    pub(crate) max_length: usize,
    /// Print one JSON object a sample.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `data.mask` of a recipe.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MaskName {
    /// Every assistant turn.
    Assistant,
    /// The last assistant turn.
    LastTurn,
    /// What follows the prompt.
    Completion,
    /// Every token.
    All,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Show what a model directory holds.
    Inspect(ModelInspectArgs),
    /// Convert a GGUF file to a Hugging Face directory.
    Convert(ConvertArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModelInspectArgs {
    /// A Hugging Face model directory.
    #[arg(value_name = "DIR")]
    pub(crate) directory: String,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The GGUF file.
    #[arg(long, value_name = "FILE")]
    pub(crate) gguf: PathBuf,
    /// The directory to write.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How the weights are stored.
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: DtypeName,
}

/// A number format of stored weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DtypeName {
    /// 32 bits.
    F32,
    /// 16 bits with the range of f32.
    Bf16,
    /// 16 bits, more precise and with a smaller range.
    F16,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// List the embedded recipes.
    List(RecipeListArgs),
    /// Print a recipe.
    Show(RecipeShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeListArgs {
    /// Print one JSON object a recipe.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeShowArgs {
    /// A recipe file, or the name of an embedded recipe.
    #[arg(value_name = "NAME|FILE")]
    pub(crate) recipe: String,
    /// Change a value of the recipe; implies `--resolved`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Check it, and print every key with its value, defaults included.
    #[arg(long)]
    pub(crate) resolved: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a command computes.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// A compiled backend: flex, ndarray, cpu, cuda[:N], rocm[:N], metal, vulkan, webgpu, wgpu
    /// [default: flex, else the first compiled one].
    #[arg(long, value_name = "D")]
    pub(crate) device: Option<String>,
}

/// A model and demonstrations.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// A Hugging Face model directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: String,
    /// JSON Lines files, read in this order.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<String>,
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
}
