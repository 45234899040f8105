//! `cargo xtask study-base` and `cargo xtask study`: objectives on a small base that has learned six tasks of reasoning.

mod matrices;
mod picture;
mod rewrites;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use matrices::{Base, MATRICES, Matrix, SMALL, SMOLLM2};

use crate::{fetch, python, quickstart, shell};

/// Where `compare.json` of each matrix is kept.
const KEPT: &str = "bench/study";
/// Where the pictures are.
const BOOK: &str = "docs/src";

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

/// Arguments of `cargo xtask study-base`.
#[derive(Debug, clap::Args)]
pub(crate) struct BaseArgs {
    /// Which of the two bases.
    #[arg(value_enum, default_value_t = Which::Small)]
    which: Which,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    /// A small model, from random weights.
    Small,
    /// SmolLM2-135M-Instruct, trained a little. Its data are made of those of the other base.
    Smollm2,
}

/// Writes the data of a base, and trains it.
pub(crate) fn base(args: &BaseArgs) -> Result<()> {
    let out = match args.which {
        Which::Small => {
            let Base {
                recipe, out, data, ..
            } = SMALL;
            quickstart::trained(&["python/study_data.py", "--out", data], recipe, out)?
        }
        Which::Smollm2 => {
            let root = shell::workspace_root();
            if !root.join(SMALL.data).join("pretrain.jsonl").exists() {
                bail!("there are no data: `cargo xtask study-base` makes them, and the other base");
            }
            fetch::smollm2(None)?;
            let python = python::environment("fetch", &root.join("python/requirements-fetch.txt"))?;
            quickstart::write_data(&python, &["python/study_smollm2.py", "--data", SMALL.data])?;
            quickstart::train(SMOLLM2.recipe, SMOLLM2.out)?
        }
    };
    eprintln!("the base is in {}", out.join("model").display());
    Ok(())
}

/// Trains all runs that are not finished yet, and keeps the tables in `bench/study`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let is_wanted = |matrix: &&Matrix| args.matrix.as_ref().is_none_or(|name| name == matrix.name);
    let wanted: Vec<&Matrix> = MATRICES.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        let names = MATRICES.map(|matrix| matrix.name).join(", ");
        bail!("`--matrix`: there are {names}");
    }
    let root = shell::workspace_root();
    let binary = shell::built_command()?;
    for matrix in wanted {
        prepared(&binary, &root, matrix.base)?;
        let out = format!("runs/study/{}", matrix.runs);
        trained(&binary, &root, matrix, (&out, args.processes))?;
        let out = root.join(out);
        let compared = fs::read_to_string(out.join("compare.json"))?;
        let compared = rewrites::added(&compared, &out, &root)?;
        let kept = root.join(KEPT).join(format!("{}.json", matrix.name));
        fs::create_dir_all(root.join(KEPT)).context("cannot create `bench/study`")?;
        fs::write(&kept, &compared).with_context(|| format!("cannot write `{}`", kept.display()))?;
        println!("\n{}", tables::of(&compared)?);
    }
    eprintln!("`cargo xtask reference` puts the tables into the book");
    Ok(())
}

/// Makes the data with planted noise. The base must be there.
fn prepared(binary: &Path, root: &Path, base: &Base) -> Result<()> {
    if !root.join(base.out).join("model").exists() {
        let verb = if base.out == SMALL.out {
            "study-base"
        } else {
            "study-base smollm2"
        };
        bail!("there is no base: `cargo xtask {verb}` makes it");
    }
    for &share in base.noise {
        let noisy = root.join(base.data).join(format!("noise-{share}.jsonl"));
        if !noisy.exists() {
            corrupt(binary, &root.join(base.data).join("train.jsonl"), share, &noisy)?;
        }
    }
    Ok(())
}

/// Trains the runs of a matrix into `out`, in several processes with one thread each.
fn trained(binary: &Path, root: &Path, matrix: &Matrix, (out, processes): (&str, usize)) -> Result<()> {
    let command = || {
        let mut command = Command::new(binary);
        let Base { runs, seeds, .. } = *matrix.base;
        command.args(["compare", runs, "--seeds", seeds, "--out", out]);
        command.args(matrix.arguments).current_dir(root);
        // One process a core computes more than one process on all cores.
        command.env("RAYON_NUM_THREADS", "1");
        command
    };
    let others = (1..processes).map(|_| quiet(command()).spawn());
    let mut others: Vec<Child> = others.collect::<Result<_, _>>().context("cannot start `cadft`")?;
    let first = shell::run(&mut command());
    for other in &mut others {
        let status = other.wait().context("`cadft` was lost")?;
        if first.is_ok() && !status.success() {
            bail!("another process of `cadft compare` ended with {status}");
        }
    }
    first
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

fn corrupt(binary: &Path, train: &Path, percent: usize, out: &Path) -> Result<()> {
    let share = format!("{}", percent as f64 / 100.0);
    let mut command = Command::new(binary);
    command.args(["data", "corrupt", "--seed", "1", "--share", &share, "--data"]);
    shell::run(command.arg(train).arg("--out").arg(out))
}

fn quiet(mut command: Command) -> Command {
    command.stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    command
}
