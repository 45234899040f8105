//! What exchanges between ranks cost a step: measured on few ranks, and computed for many (`model.rs`).

mod model;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::shell;

/// The page that has the tables of `model.rs`.
const PAGE: &str = "docs/src/guide/distributed.md";
const RANKS: [usize; 3] = [1, 2, 4];
const ROUNDS: usize = 3;
/// Number of steps in a run. The first steps are not counted.
const STEPS: usize = 30;
const SKIPPED: usize = 5;

/// One line of `bench/scale.json`.
#[derive(Serialize)]
struct Measured {
    ranks: usize,
    trained: &'static str,
    /// Median over rounds of the median duration of a step, in seconds.
    step_secs: f64,
    /// Median over rounds of the share of a step that the first rank spends on exchanges, including waiting.
    share: f64,
    /// Mean over steps of the tokens of the rank that has the most, divided by the mean.
    imbalance: f64,
}

/// Trains the quickstart's model and an adapter on 1, 2 and 4 ranks in turn, and writes `bench/scale.json`.
pub(super) fn run() -> Result<()> {
    let root = shell::workspace_root();
    let binary = shell::built_command()?;
    let scratch = shell::target_dir().join("bench-scale");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove `{}`", scratch.display()))?;
    }
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
    let mut lines = vec![];
    for (trained, settings) in [("all", &[][..]), ("lora, rank 16", &["adapter.rank=16"][..])] {
        let mut of_ranks = [const { vec![] }; RANKS.len()];
        for round in 0..ROUNDS {
            for (place, ranks) in RANKS.into_iter().enumerate() {
                let out = scratch.join(format!("{}-{ranks}-{round}", trained.len()));
                of_ranks[place].push(steps(&binary, ranks, settings, &out)?);
            }
        }
        for (ranks, rounds) in RANKS.into_iter().zip(of_ranks) {
            let column =
                |number: usize| median(rounds.iter().map(|round: &[f64; 3]| round[number]).collect());
            let measured = Measured {
                ranks,
                trained,
                step_secs: column(0),
                share: column(1),
                imbalance: column(2),
            };
            let line = serde_json::to_string(&measured)?;
            println!("{line}");
            lines.push(line);
        }
    }
    let text = format!(
        "{{\n  \"command\": \"cargo xtask bench scale\",\n  \"commit\": \"{}\",\n  \"machine\": \"{} {}, {} threads\",\n  \
         \"backend\": \"flex\",\n  \"ranks are\": \"threads of one process\",\n  \"model\": \"quickstart\",\n  \"steps\": \
         [\n    {}\n  ]\n}}\n",
        shell::output(
            Command::new("git")
                .args(["rev-parse", "--short", "HEAD"])
                .current_dir(&root)
        )?
        .trim(),
        std::env::consts::OS,
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(1, usize::from),
        lines.join(",\n    ")
    );
    fs::write(root.join("bench/scale.json"), text)?;
    for (name, table) in model::tables() {
        println!("\n{name}\n\n{table}");
    }
    println!("these are the tables of `{PAGE}`, which a test compares");
    Ok(())
}

/// Median duration of a step in seconds, share of exchanges, and mean imbalance.
fn steps(binary: &Path, ranks: usize, settings: &[&str], out: &Path) -> Result<[f64; 3]> {
    let mut command = Command::new(binary);
    command.args(["train", "quickstart", "--out"]).arg(out);
    command.args(["--ranks", &ranks.to_string()]);
    let steps = format!("schedule.steps={STEPS}");
    let fixed = ["batch.shards=4", "evaluate.answers=0", &steps];
    for setting in fixed.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    shell::run(
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null()),
    )?;
    let metrics = out.join("metrics.jsonl");
    let text =
        fs::read_to_string(&metrics).with_context(|| format!("cannot read `{}`", metrics.display()))?;
    let (mut seconds, mut waited, mut imbalances) = (vec![], vec![], vec![]);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let (Some(number), Some(tokens), Some(speed)) = (
            line["step"].as_u64(),
            line["tokens"].as_f64(),
            line["tokens_per_sec"].as_f64(),
        ) else {
            continue;
        };
        if number as usize > SKIPPED {
            seconds.push(tokens / speed);
            waited.push(line["ranks"]["wait_secs"].as_f64().unwrap_or(0.0));
            imbalances.push(line["ranks"]["imbalance"].as_f64().unwrap_or(1.0));
        }
    }
    if seconds.is_empty() {
        bail!("no step in `{}`", metrics.display());
    }
    let total: f64 = seconds.iter().sum();
    let imbalance = imbalances.iter().sum::<f64>() / imbalances.len() as f64;
    Ok([median(seconds), waited.iter().sum::<f64>() / total, imbalance])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
