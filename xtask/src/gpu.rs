//! `cargo xtask gpu`: the CUDA backend on a machine that has neither a GPU nor LLVM.
//!
//! Burn's CUDA backend depends on `cubecl-llvm`, whose build script downloads LLVM. Kernels can also be compiled by
//! NVRTC (feature `cuda-cpp`), which needs nothing at build time. Here a stub replaces `cubecl-llvm`, in a copy of the
//! workspace made of links, so that the real `Cargo.toml` and `Cargo.lock` do not change.
//! The stub is for checks, and for machines without a network; released builds use the real crate.
//! `cargo xtask gpu emulate` goes one step further: see [`emulate`].

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell;

mod emulate;

/// The CUDA version whose driver interface is compiled in: that of the oldest supported driver.
const CUDA_VERSION: &str = "13000";
/// Largest compressed binary, in bytes, that can be transferred to a machine without a network.
const MOST: u64 = 40_000_000;
const FEATURES: &str = "cadft/flex,cadft/cuda,cadft/cuda-cpp,cadft/nccl,cadft/fusion";
const PATCH: &str = "\n[patch.crates-io]\ncubecl-llvm = { path = \"xtask/stubs/cubecl-llvm\" }\n";

/// Arguments of `cargo xtask gpu`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Type-check `cadft` with CUDA and NCCL.
    Check,
    /// Build `cadft` with CUDA, stripped and compressed, to be carried to a machine with a GPU.
    Build,
    /// Run `cadft` with CUDA on the CPU, its kernels compiled by C++; without a command, the self-test.
    Emulate {
        /// Arguments of `cadft`: `-- selftest --device cuda --tf32 false`, for example.
        #[arg(last = true)]
        command: Vec<String>,
    },
}

/// Checks, builds or runs `cadft` with the features flex and cuda.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mirror = mirror(
        &shell::workspace_root(),
        &shell::target_dir().join("gpu-workspace"),
    )?;
    match &args.what {
        // Includes the crate of kernels, whose example needs CUDA.
        What::Check => shell::run(cargo(&mirror, "check").args([
            "--package",
            "cadft-kernels",
            "--lib",
            "--bins",
            "--examples",
        ])),
        What::Build => build(&mirror).and_then(|binary| compress(&binary)),
        What::Emulate { command } => emulate::run(&build(&mirror)?, command),
    }
}

/// Builds a stripped binary.
fn build(mirror: &Path) -> Result<PathBuf> {
    // A separate target directory, so that the binary does not replace the one for this machine.
    let target = shell::target_dir().join("gpu");
    shell::run(
        cargo(mirror, "build")
            .args(["--config", "profile.release.strip=true"])
            .env("CARGO_TARGET_DIR", &target),
    )?;
    Ok(target.join("release/cadft"))
}

fn compress(binary: &Path) -> Result<()> {
    shell::run(
        std::process::Command::new("xz")
            .args(["-1", "--force", "--keep", "--threads=0"])
            .arg(binary),
    )?;
    let compressed = binary.with_extension("xz");
    let _ = size_of(binary)?;
    within(size_of(&compressed)?)
}

/// Prints and checks the size of a file.
fn size_of(path: &Path) -> Result<u64> {
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?
        .len();
    eprintln!("{} ({:.1} MB)", path.display(), size as f64 / 1e6);
    Ok(size)
}

fn within(size: u64) -> Result<()> {
    ensure!(
        size <= MOST,
        "the compressed binary has {:.1} MB, more than {:.0}\nhint: look at what was added with `cargo bloat`",
        size as f64 / 1e6,
        MOST as f64 / 1e6
    );
    Ok(())
}

fn cargo(mirror: &Path, verb: &str) -> std::process::Command {
    let mut command = shell::cargo();
    command
        .args([verb, "--release", "--manifest-path"])
        .arg(mirror.join("Cargo.toml"))
        .args([
            "--package",
            "cadft",
            "--no-default-features",
            "--features",
            FEATURES,
        ])
        .env("CARGO_TARGET_DIR", shell::target_dir())
        .env("CUDARC_CUDA_VERSION", CUDA_VERSION);
    command
}

/// Makes a workspace like `root` at `mirror`: links to its folders, the manifest with the patch, and a copy of the lock
/// file.
fn mirror(root: &Path, mirror: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(mirror).with_context(|| format!("cannot create `{}`", mirror.display()))?;
    for name in ["crates", "tests", "xtask"] {
        link(&root.join(name), &mirror.join(name))?;
    }
    let manifest = root.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read `{}`", manifest.display()))?;
    std::fs::write(mirror.join("Cargo.toml"), text + PATCH)?;
    let lock = root.join("Cargo.lock");
    std::fs::copy(&lock, mirror.join("Cargo.lock"))
        .with_context(|| format!("cannot copy `{}`", lock.display()))?;
    Ok(mirror.to_path_buf())
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> Result<()> {
    if std::fs::read_link(to).is_ok_and(|target| target == from) {
        return Ok(());
    }
    if to.is_symlink() {
        std::fs::remove_file(to)?;
    }
    std::os::unix::fs::symlink(from, to).with_context(|| format!("cannot link `{}`", to.display()))
}

#[cfg(not(unix))]
fn link(_from: &Path, to: &Path) -> Result<()> {
    anyhow::bail!(
        "cannot link `{}`: `cargo xtask gpu` needs a Unix system",
        to.display()
    )
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_leaves_the_workspace_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for name in ["crates/a", "tests", "xtask"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::write(root.join("Cargo.toml"), "[workspace]\n").unwrap();
        std::fs::write(root.join("Cargo.lock"), "version = 4\n").unwrap();
        for _ in 0..2 {
            let made = mirror(&root, &dir.path().join("mirror")).unwrap();
            assert!(made.join("crates/a").is_dir());
            let manifest = std::fs::read_to_string(made.join("Cargo.toml")).unwrap();
            assert_eq!(manifest.matches("[patch.crates-io]").count(), 1);
        }
        assert_eq!(
            std::fs::read_to_string(root.join("Cargo.toml")).unwrap(),
            "[workspace]\n"
        );
    }

    #[test]
    fn a_binary_that_is_too_large_to_carry_is_an_error() {
        assert!(within(MOST).is_ok());
        let error = within(MOST + 1).unwrap_err().to_string();
        assert!(error.contains("40.0 MB, more than 40"), "{error}");
    }

    #[test]
    fn the_manifest_has_no_patch_of_its_own() {
        let manifest = std::fs::read_to_string(shell::workspace_root().join("Cargo.toml")).unwrap();
        let table: toml::Table = manifest.parse().unwrap();
        assert!(
            !table.contains_key("patch"),
            "a second `[patch.crates-io]` would not parse"
        );
    }
}
