//! `cargo xtask study-base` and `cargo xtask study`: objectives on a small base that has learned six tasks of reasoning.

mod picture;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use crate::{quickstart, shell};

const DATA: &str = "data/study";
const RECIPE: &str = "bench/study.toml";
/// Where `compare.json` of each matrix is kept.
const KEPT: &str = "bench/study";
/// Where the pictures are.
const BOOK: &str = "docs/src";
/// Shares of the rows with planted noise, in percent.
const NOISE: [usize; 2] = [20, 40];
const SEEDS: &str = "5";

/// Arguments of `cargo xtask study`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this matrix.
    #[arg(long)]
    matrix: Option<String>,
    /// Processes that share the runs, each with one thread.
    #[arg(long, default_value_t = 2)]
    processes: usize,
}

/// One call of `cadft compare`.
struct Matrix {
    name: &'static str,
    /// The directory of the runs, in `runs/study`; runs that another matrix has trained are not repeated.
    runs: &'static str,
    arguments: &'static [&'static str],
}

/// An objective is compared with the first one of its matrix.
const MATRICES: [Matrix; 6] = [
    Matrix {
        name: "noise",
        runs: "noise",
        arguments: &[
            "--objectives=nll,dft,cadft,profit,prift",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--data=clean: data/study/train.jsonl",
            "--data=noise-20: data/study/noise-20.jsonl",
            "--data=noise-40: data/study/noise-40.jsonl",
        ],
    },
    Matrix {
        name: "gate",
        runs: "noise",
        arguments: &[
            "--objectives=dft,cadft,profit,prift",
            "--data=clean: data/study/train.jsonl",
            "--data=noise-20: data/study/noise-20.jsonl",
            "--data=noise-40: data/study/noise-40.jsonl",
        ],
    },
    Matrix {
        name: "beta",
        runs: "noise",
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--objective=beta-half: cadft.gate=\"nll\"; cadft.beta=0.5",
            "--objective=beta-2: cadft.gate=\"nll\"; cadft.beta=2",
            "--objective=beta-4: cadft.gate=\"nll\"; cadft.beta=4",
            "--objective=running: cadft.gate=\"nll\"; cadft.statistics=\"running\"",
            "--data=noise-20: data/study/noise-20.jsonl",
        ],
    },
    Matrix {
        name: "batch",
        runs: "batch",
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--settings=b8: batch.global=8; batch.micro=8",
            "--settings=b32: batch.global=32",
            "--settings=b128: batch.global=128",
            "--data=noise-20: data/study/noise-20.jsonl",
        ],
    },
    Matrix {
        name: "normaliser",
        runs: "normaliser",
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--settings=token-mean: loss.normalisation=\"token-mean\"",
            "--settings=sample-mean: loss.normalisation=\"sample-mean\"",
            "--settings=sample-sum: loss.normalisation=\"sample-sum\"",
            "--data=noise-20: data/study/noise-20.jsonl",
        ],
    },
    Matrix {
        name: "rewriting",
        runs: "rewriting",
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--settings=off: schedule.epochs=3",
            "--settings=own: schedule.epochs=3; rewrite.warmup=0.4; rewrite.fraction=0.06; rewrite.max-new-tokens=64",
            "--settings=checked: schedule.epochs=3; rewrite.warmup=0.4; rewrite.fraction=0.06; rewrite.max-new-tokens=64; \
             rewrite.same-answer=true",
            "--data=noise-40: data/study/noise-40.jsonl",
        ],
    },
];

/// Writes the data, and trains the base into `runs/study-base`.
pub(crate) fn base() -> Result<()> {
    let out = quickstart::trained(
        &["python/study_data.py", "--out", DATA],
        "bench/study-base.toml",
        "runs/study-base",
    )?;
    eprintln!("the base is in {}", out.join("model").display());
    Ok(())
}

/// Trains all runs that are not finished yet, and keeps the tables in `bench/study`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = shell::workspace_root();
    if !root.join("runs/study-base/model").exists() {
        bail!("there is no base: `cargo xtask study-base` makes it");
    }
    let is_wanted = |matrix: &&Matrix| args.matrix.as_ref().is_none_or(|name| name == matrix.name);
    let wanted: Vec<&Matrix> = MATRICES.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        let names = MATRICES.map(|matrix| matrix.name).join(", ");
        bail!("`--matrix`: there are {names}");
    }
    let binary = shell::built_command()?;
    for share in NOISE {
        let noisy = root.join(DATA).join(format!("noise-{share}.jsonl"));
        if !noisy.exists() {
            corrupt(&binary, &root, share, &noisy)?;
        }
    }
    for matrix in wanted {
        let out = format!("runs/study/{}", matrix.runs);
        let command = || {
            let mut command = Command::new(&binary);
            command.args(["compare", RECIPE, "--seeds", SEEDS, "--out", &out]);
            command.args(matrix.arguments).current_dir(&root);
            // One process a core computes more than one process on all cores.
            command.env("RAYON_NUM_THREADS", "1");
            command
        };
        let others = (1..args.processes).map(|_| quiet(command()).spawn());
        let mut others: Vec<Child> = others.collect::<Result<_, _>>().context("cannot start `cadft`")?;
        let first = shell::run(&mut command());
        for other in &mut others {
            let status = other.wait().context("`cadft` was lost")?;
            if first.is_ok() && !status.success() {
                bail!("another process of `cadft compare` ended with {status}");
            }
        }
        first?;
        let kept = root.join(KEPT).join(format!("{}.json", matrix.name));
        fs::create_dir_all(root.join(KEPT)).context("cannot create `bench/study`")?;
        fs::copy(root.join(&out).join("compare.json"), &kept)
            .with_context(|| format!("cannot write `{}`", kept.display()))?;
        println!("\n{}", tables::of(&fs::read_to_string(&kept)?)?);
    }
    eprintln!("`cargo xtask reference` puts the tables into the book");
    Ok(())
}

/// What the book has of the matrices that have been run.
pub(crate) struct Shown {
    /// The table of each, with a link to its picture, as `study NAME`.
    pub(crate) tables: BTreeMap<String, String>,
    /// The pictures, by their files.
    pub(crate) pictures: BTreeMap<PathBuf, String>,
}

/// Tables and pictures, from `bench/study`.
pub(crate) fn shown() -> Result<Shown> {
    let root = shell::workspace_root();
    let folder = root.join(KEPT);
    let (mut tables, mut pictures) = (BTreeMap::new(), BTreeMap::new());
    let files = if folder.exists() {
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        files.collect::<Result<Vec<_>, _>>()?
    } else {
        vec![]
    };
    for file in files {
        let path = file.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&path)?;
        let at = || format!("in `{}`", path.display());
        let mut table = tables::of(&text).with_context(at)?;
        if let Some(picture) = picture::of(&text).with_context(at)? {
            let file = format!("study-{name}.svg");
            table += &format!("\n![Right answers, compared with the first objective]({file})\n");
            pictures.insert(root.join(BOOK).join(file), picture);
        }
        tables.insert(format!("study {name}"), table);
    }
    Ok(Shown { tables, pictures })
}

fn corrupt(binary: &Path, root: &Path, percent: usize, out: &Path) -> Result<()> {
    let share = format!("{}", percent as f64 / 100.0);
    let train = root.join(DATA).join("train.jsonl");
    let mut command = Command::new(binary);
    command.args(["data", "corrupt", "--seed", "1", "--share", &share, "--data"]);
    shell::run(command.arg(train).arg("--out").arg(out))
}

fn quiet(mut command: Command) -> Command {
    command.stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    command
}
