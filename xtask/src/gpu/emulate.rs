//! CUDA on the CPU: a C++ compiler compiles the kernels that CubeCL generates in CUDA C++.
//!
//! `xtask/stubs/cuda` has stand-ins for the driver, for NVRTC and for NCCL, which the binary loads in place of the real ones: each
//! thread of a block is a stack of its own, tensor cores and copy engine are a few loops. It shows whether kernels
//! compute what they should on a device whose memory is laid out as CUDA's is and that has bf16; not how fast, and not what
//! goes wrong only where threads run at the same time.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Kernels compiled for the emulated device must not be mixed with those of a real one.
const SETTINGS: &str = "[compilation]\ncache = true\n\n[environment]\npath = \"local\"\n";
/// The source files of the stubs.
const SOURCES: [&str; 7] = [
    "threads.h",
    "threads.cpp",
    "driver.cpp",
    "nvrtc.cpp",
    "nccl.cpp",
    "device.h",
    "translate.py",
];

/// Runs `binary` with the stubs. It runs in their build directory, so `command` needs absolute paths.
pub(super) fn run(binary: &Path, command: &[String]) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "threads are emulated on x86-64 Linux only"
    );
    let sources = shell::workspace_root().join("xtask/stubs/cuda");
    let directory = shell::target_dir().join("gpu/emulated");
    prepare(&sources, &directory)?;
    let mut cadft = Command::new(binary);
    if command.is_empty() {
        cadft.args(["selftest", "--device", "cuda", "--tf32", "false"]);
    }
    shell::run(
        cadft
            .args(command)
            .current_dir(&directory)
            .env("CUDA_EMULATED", &sources)
            .env("CUDA_EMULATED_KERNELS", directory.join("kernels"))
            .env("CUDA_PATH", &directory)
            .env("LD_LIBRARY_PATH", &directory),
    )
}

/// Compiles the stubs into `directory`. If the sources have changed, the old contents are removed first.
fn prepare(sources: &Path, directory: &Path) -> Result<()> {
    let mut all = vec![];
    for name in SOURCES {
        let path = sources.join(name);
        all.extend(std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?);
    }
    let stamp = directory.join("sources");
    if std::fs::read(&stamp).is_ok_and(|before| before == all) {
        return Ok(());
    }
    if directory.exists() {
        std::fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove `{}`", directory.display()))?;
    }
    std::fs::create_dir_all(directory.join("kernels"))
        .with_context(|| format!("cannot create `{}`", directory.display()))?;
    std::fs::write(directory.join("cubecl.toml"), SETTINGS)?;
    library(sources, directory, "libcuda.so", &["threads.cpp", "driver.cpp"])?;
    library(sources, directory, "libnvrtc.so", &["nvrtc.cpp"])?;
    library(sources, directory, "libnccl.so", &["nccl.cpp"])?;
    std::fs::write(stamp, all)?;
    Ok(())
}

fn library(sources: &Path, directory: &Path, name: &str, files: &[&str]) -> Result<()> {
    let files = files.iter().map(|file| sources.join(file));
    shell::run(
        Command::new("c++")
            .args(["-std=c++17", "-O2", "-Wall", "-fPIC", "-shared", "-o"])
            .arg(directory.join(name))
            .args(files)
            .arg("-ldl"),
    )
}
