//! The arguments of `cadft bench`.

use super::{DeviceArgs, positive};
use cadft_data::Packing;
use cadft_model::decoder::{Precision, Recompute};
use clap::{ArgAction, Args};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// A `config.json` of Hugging Face, or a directory with one: the shape of the model. Weights are random.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "model",
        conflicts_with = "model"
    )]
    pub(crate) config: Option<PathBuf>,
    /// A model directory, instead of random weights.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// The samples of a step, as JSON Lines of `token_ids` and `prompt_len`, instead of random text.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["global", "length"])]
    pub(crate) samples: Option<PathBuf>,
    /// Train a LoRA of this rank on all linear layers.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) rank: Option<usize>,
    /// How the samples of a forward pass are laid out: padding-free, none or best-fit.
    #[arg(long, value_name = "LAYOUT", default_value = "padding-free", value_parser = packing)]
    pub(crate) packing: Packing,
    /// The objectives, taken in turns on the same model.
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "nll,cadft")]
    pub(crate) objectives: Vec<String>,
    /// Samples of a step.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub(crate) global: usize,
    /// Samples of a forward pass [default: all of them].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) micro: Option<usize>,
    /// Tokens of a sample; all but the first are trained.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = length)]
    pub(crate) length: usize,
    /// Number format of the factors of products: f32 or bf16.
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = precision)]
    pub(crate) precision: Precision,
    /// Whether activations are kept (none) or computed again (blocks).
    #[arg(long, value_name = "WHAT", default_value = "none", value_parser = recompute)]
    pub(crate) recompute: Recompute,
    /// Whether products of f32 may be computed in TF32, if the device has it.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true)]
    pub(crate) tf32: bool,
    /// Statistics of weighted objectives come from earlier steps; without it, from the step itself.
    #[arg(long)]
    pub(crate) running: bool,
    /// Steps of each objective that are timed.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub(crate) steps: usize,
    /// Steps of each objective before those.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) warmup: usize,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON object an objective.
    #[arg(long)]
    pub(crate) json: bool,
}

fn length(text: &str) -> Result<usize, String> {
    match positive(text) {
        Ok(1) => Err("must be at least 2: the first token is no target".to_owned()),
        other => other,
    }
}

fn packing(text: &str) -> Result<Packing, String> {
    match text {
        "padding-free" => Ok(Packing::PaddingFree),
        "none" => Ok(Packing::None),
        "best-fit" => Ok(Packing::BestFit),
        _ => Err("known are padding-free, none, best-fit".to_owned()),
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("known are f32, bf16".to_owned()),
    }
}

fn recompute(text: &str) -> Result<Recompute, String> {
    match text {
        "none" => Ok(Recompute::None),
        "blocks" => Ok(Recompute::Blocks),
        _ => Err("known are none, blocks".to_owned()),
    }
}
