//! `cargo xtask bench`: measurements, never part of a test run.

mod data;
mod scale;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{python, shell};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// Arguments of the measuring script, after `--`.
    #[arg(last = true)]
    args: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Peak memory, into `bench/memory.json`: of the fused likelihood relative to inputs, gradients and one chunk; of
    /// steps with activations kept and recomputed; of loading a checkpoint relative to its size; and, after `cargo
    /// xtask fetch smollm2` and `cargo xtask fetch reasoning-gym`, of training `SmolLM2` compared with its estimate.
    Memory,
    /// The curves of `SmolLM2` in f32 and bf16, all weights and LoRA, and of the same LoRA in PEFT; needs `cargo xtask fetch
    /// smollm2` and `cargo xtask fetch reasoning-gym`.
    Precision,
    /// Training steps on a GPU compared with `PyTorch` and transformers, into `bench/training.json`; needs CUDA.
    Training,
    /// Training steps on the CPU beside `PyTorch`, TRL and PEFT, into `bench/step.json`; needs `cargo xtask fetch smollm2` and
    /// `cargo xtask fetch reasoning-gym`.
    Step,
    /// Tokens a second of generation compared with `transformers.generate`; needs `cargo xtask fetch smollm2`.
    Generate,
    /// Tokenising and reading training data, compared with `datasets` and `transformers`.
    Data,
    /// Whether rewriting helps: the quickstart's model with and without it, for three seeds.
    Rewriting,
    /// The cost of writing checkpoints for a run.
    Checkpoints,
    /// The cost of exchanges in a step on 1, 2 and 4 ranks, into `bench/scale.json`.
    Scale,
}

/// Builds the measurement with the features of the whole workspace and runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.what {
        What::Data => data::run(),
        What::Scale => scale::run(),
        What::Memory => {
            shell::run(&mut Command::new(built("likelihood-memory")?))?;
            shell::run(&mut Command::new(built("training-memory")?))?;
            estimate()
        }
        What::Precision => precision(&args.args),
        What::Training => training(&args.args),
        What::Step => step(&args.args),
        What::Generate => generate(&args.args),
        What::Checkpoints => shell::run(&mut Command::new(built("checkpoint-stall")?)),
        What::Rewriting => shell::run(&mut Command::new(built("rewriting-study")?)),
    }
}

/// Builds a measuring program. Returns its path.
fn built(binary: &str) -> Result<PathBuf> {
    shell::run(shell::cargo_in_workspace("build").args(["--release", "--workspace", "--bin", binary]))?;
    Ok(shell::target_dir().join("release").join(binary))
}

/// Trains `SmolLM2` under several settings, and writes `bench/memory.json`: peaks next to their estimates.
fn estimate() -> Result<()> {
    let root = shell::workspace_root();
    let (model, data) = (
        root.join("models/smollm2-135m-instruct"),
        root.join("data/reasoning-gym/mixed_train.jsonl"),
    );
    if !model.is_dir() || !data.is_file() {
        eprintln!("no SmolLM2 or no data: the estimate of training is not measured");
        return Ok(());
    }
    let measured = shell::output(Command::new(built("memory-estimate")?).args([model, data]))?;
    print!("{measured}");
    let lines: Vec<&str> = measured.lines().collect();
    let text = format!(
        "{{\n  \"command\": \"cargo xtask bench memory\",\n  \"machine\": \"{} {}, {} threads\",\n  \"backend\": \
         \"flex\",\n  \"model\": \"SmolLM2-135M-Instruct\",\n  \"settings\": [\n    {}\n  ]\n}}\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(1, usize::from),
        lines.join(",\n    ")
    );
    std::fs::write(root.join("bench/memory.json"), text)?;
    Ok(())
}

/// Trains the same steps in five ways, and writes `bench/smollm2-precision.json`.
fn precision(args: &[String]) -> Result<()> {
    let root = shell::workspace_root();
    let (model, data) = (
        root.join("models/smollm2-135m-instruct"),
        root.join("data/reasoning-gym/chain_sum_train.jsonl"),
    );
    if !model.is_dir() || !data.is_file() {
        bail!(
            "no SmolLM2 or no data\nhint: `cargo xtask fetch smollm2` and `cargo xtask fetch reasoning-gym`"
        );
    }
    shell::run(shell::cargo_in_workspace("build").args(["--release", "--package", "cadft"]))?;
    let interpreter = python::environment("fixtures", &root.join("python/requirements.txt"))?;
    shell::run(
        Command::new(interpreter)
            .arg(root.join("python/precision.py"))
            .arg("--binary")
            .arg(shell::target_dir().join("release/cadft"))
            .arg("--model")
            .arg(model)
            .arg("--data")
            .arg(data)
            .arg("--out")
            .arg(root.join("bench/smollm2-precision.json"))
            .args(args),
    )
}

/// Runs both sides alternately, and writes `bench/training.json`.
fn training(args: &[String]) -> Result<()> {
    let root = shell::workspace_root();
    let features = ["--package", "cadft", "--features", "cuda,fusion"];
    shell::run(shell::cargo_in_workspace("build").arg("--release").args(features))?;
    let interpreter = python::environment("fixtures", &root.join("python/requirements.txt"))?;
    let shapes = root.join("bench/shapes");
    shell::run(
        Command::new(interpreter)
            .arg(root.join("python/bench_training.py"))
            .arg("--binary")
            .arg(shell::target_dir().join("release/cadft"))
            .arg("--config")
            .args(["qwen2.5-math-1.5b.json", "llama-3.2-3b.json"].map(|name| shapes.join(name)))
            .arg("--out")
            .arg(root.join("bench/training.json"))
            .args(args),
    )
}

/// Runs both sides alternately, and writes `bench/step.json`.
fn step(args: &[String]) -> Result<()> {
    let root = shell::workspace_root();
    let model = root.join("models/smollm2-135m-instruct");
    let data = root.join("data/reasoning-gym/gsm_symbolic_train.jsonl");
    if !model.is_dir() || !data.is_file() {
        bail!(
            "no SmolLM2 or no data\nhint: `cargo xtask fetch smollm2` and `cargo xtask fetch reasoning-gym`"
        );
    }
    let binary = built("cadft")?;
    let interpreter = python::environment("fixtures", &root.join("python/requirements.txt"))?;
    let commit = shell::output(
        Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(&root),
    )?;
    shell::run(
        Command::new(interpreter)
            .arg(root.join("python/bench_step.py"))
            .arg("--binary")
            .arg(binary)
            .arg("--model")
            .arg(model)
            .arg("--data")
            .arg(data)
            .arg("--commit")
            .arg(commit.trim())
            .arg("--out")
            .arg(root.join("bench/step.json"))
            .args(args),
    )
}

/// Runs both sides alternately, and writes `bench/generate.json`.
fn generate(args: &[String]) -> Result<()> {
    let root = shell::workspace_root();
    let model = root.join("models/smollm2-135m-instruct");
    if !model.is_dir() {
        bail!(
            "no `{}`\nhint: `cargo xtask fetch smollm2` makes it",
            model.display()
        );
    }
    let binary = built("generate-speed")?;
    let interpreter = python::environment("fixtures", &root.join("python/requirements.txt"))?;
    shell::run(
        Command::new(interpreter)
            .arg(root.join("python/bench_generate.py"))
            .arg("--model")
            .arg(model)
            .arg("--binary")
            .arg(binary)
            .arg("--out")
            .arg(root.join("bench/generate.json"))
            .args(args),
    )
}
