//! `cargo xtask soak`: a long run of the tiny model. Fails if memory or the number of file descriptors grows.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// Number of steps after which the values are expected to be stable.
const SETTLED: usize = 200;
/// Largest growth factor of the median resident memory that counts as constant: allocators keep memory that they once
/// reserved.
const FLAT: f64 = 1.05;

/// Rounds of rewriting throughout the run. Few samples are replaced, because replaced samples are state that a run
/// keeps.
const REWRITING: [&str; 6] = [
    "rewrite.warmup=100",
    "rewrite.every=100",
    "rewrite.fraction=0.1",
    "rewrite.probability=0.25",
    "rewrite.max-per-sample=20",
    "rewrite.max-new-tokens=48",
];

/// Arguments of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Steps of the run.
    #[arg(long, default_value_t = 2000)]
    steps: usize,
}

/// The operating system's values for the process after a step.
#[derive(Clone, Copy, Debug)]
struct Sample {
    step: usize,
    rss_kib: u64,
    descriptors: usize,
}

/// Trains with an evaluation every 50 steps, a checkpoint every 10 and a round of rewriting every 100. Compares the
/// beginning with the end.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.steps >= 4 * SETTLED, "at least {} steps", 4 * SETTLED);
    let binary = "cadft-under-test";
    shell::run(shell::cargo_in_workspace("build").args(["--release", "--workspace", "--bin", binary]))?;
    let binary = shell::target_dir().join("release").join(binary);
    let out = shell::target_dir().join("soak");
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| out.display().to_string())?;
    }
    let mut command = Command::new(binary);
    command
        .current_dir(shell::workspace_root().join("tests/fixtures/blackbox"))
        .args(["train", "--recipe", "recipe.toml", "--out"])
        .arg(&out)
        .args(["--set", &format!("schedule.steps={}", args.steps)])
        .args(["--set", "evaluate.every=50", "--set", "checkpoint.every=10"])
        .args(["--set", "optimizer.lr=1e-4", "--set", "log.tensorboard=true"])
        .args(REWRITING.iter().flat_map(|setting| ["--set", setting]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let samples = watch(command.spawn().context("cadft does not start")?, &out)?;
    let metrics = fs::read_to_string(out.join("metrics.jsonl"))?;
    let rounds = metrics
        .lines()
        .filter(|line| line.starts_with("{\"event\":\"rewrote\""));
    println!("{} rounds of rewriting", rounds.count());
    judge(&samples, args.steps)
}

/// Samples the process until it ends.
fn watch(mut child: Child, out: &Path) -> Result<Vec<Sample>> {
    let started = Instant::now();
    let mut samples = vec![];
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        samples.extend(sample(child.id(), out));
        sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "the run ended with {status}");
    println!(
        "{} samples in {:.0} s",
        samples.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(samples)
}

/// `None` before the first step, and after the process has ended.
fn sample(process: u32, out: &Path) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).ok()?;
    Some(Sample {
        step: metrics
            .lines()
            .filter(|line| line.starts_with("{\"step\""))
            .count(),
        rss_kib: line.trim().strip_suffix("kB")?.trim().parse().ok()?,
        descriptors: fs::read_dir(format!("/proc/{process}/fd")).ok()?.count(),
    })
}

/// Compares the first `steps` after settling with the last ones.
fn judge(samples: &[Sample], steps: usize) -> Result<()> {
    let between = |from: usize, to: usize| -> Vec<Sample> {
        let chosen = samples.iter().filter(|sample| (from..=to).contains(&sample.step));
        chosen.copied().collect()
    };
    let early = between(SETTLED, 2 * SETTLED);
    let late = between(steps - SETTLED, steps);
    if early.is_empty() || late.is_empty() {
        bail!("the run was too quick to be watched: {} samples", samples.len());
    }
    let rss = |samples: &[Sample]| median(samples.iter().map(|sample| sample.rss_kib).collect());
    let descriptors =
        |samples: &[Sample]| median(samples.iter().map(|sample| sample.descriptors as u64).collect());
    let (rss_early, rss_late) = (rss(&early), rss(&late));
    let (open_early, open_late) = (descriptors(&early), descriptors(&late));
    let growth = rss_late as f64 / rss_early as f64;
    println!(
        "                   steps {SETTLED}–{}   steps {}–{steps}",
        2 * SETTLED,
        steps - SETTLED
    );
    println!(
        "resident, MiB      {:>12.1}   {:>12.1}   ratio {growth:.3}",
        mib(rss_early),
        mib(rss_late)
    );
    println!("descriptors        {open_early:>12}   {open_late:>12}");
    ensure!(growth <= FLAT, "resident memory grows");
    ensure!(open_late <= open_early, "file descriptors grow");
    Ok(())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(growth: u64, leak: usize) -> Vec<Sample> {
        let of = |step: usize| Sample {
            step,
            rss_kib: 100_000 + growth * step as u64,
            descriptors: 10 + leak * step / 100,
        };
        (0..=1000).map(of).collect()
    }

    #[test]
    fn growth_is_noticed() {
        assert!(judge(&samples(0, 0), 1000).is_ok());
        assert!(judge(&samples(50, 0), 1000).is_err());
        assert!(judge(&samples(0, 1), 1000).is_err());
    }
}
