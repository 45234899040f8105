//! `cargo xtask test`: the one way to run the tests.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::backend::{Backend, extra_features};
use crate::{fetch, python, shell};

/// The variable that selects the backends for the suites in `tests/`, out of those in the build.
const ASKED: &str = "CADFT_TEST_BACKENDS";

/// The variable with the Python that has transformers, for the tests with a real checkpoint.
const TRANSFORMERS: &str = "CADFT_TRANSFORMERS_PYTHON";

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Backends to test, separated by commas; flex alone tests the whole workspace, others the suites in `tests/`.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "flex")]
    backend: Vec<Backend>,
    /// Test against a real checkpoint, published chat templates and tokenizers (all fetched first), transformers,
    /// TensorBoard and, if there is one, a browser.
    #[arg(long)]
    real: bool,
    /// Build with MPI, and test runs of several processes too: needs Open MPI with its headers, and libclang.
    #[arg(long)]
    mpi: bool,
    /// Only tests whose name contains one of these.
    filter: Vec<String>,
}

/// Runs the tests in the release profile, the one Burn is compiled in.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = command(args);
    if args.real {
        fetch::smollm2(None)?;
        fetch::gemma3(None)?;
        let requirements = shell::workspace_root().join("python/requirements-tensorboard.txt");
        let interpreter = python::environment("tensorboard", &requirements)?;
        command.env("CADFT_TENSORBOARD_PYTHON", interpreter);
        let requirements = shell::workspace_root().join("python/requirements.txt");
        let interpreter = python::environment("fixtures", &requirements)?;
        command.env(TRANSFORMERS, &interpreter);
        fetch::templates(None)?;
        fetch::tokenizers(None)?;
        shell::run(&mut published(args))?;
    }
    shell::run(&mut command)?;
    if is_everything(args) { outside() } else { Ok(()) }
}

/// Whether all tests of the workspace are requested.
fn is_everything(args: &Args) -> bool {
    !args.real && !args.mpi && args.filter.is_empty() && extra_features(&args.backend).is_empty()
}

/// The program outside the workspace. It uses the versions of the workspace's `Cargo.lock` and the workspace's target
/// directory, so that only the crates of the repository are compiled for it.
fn outside() -> Result<()> {
    let directory = shell::workspace_root().join("tests/outside");
    let lock = directory.join("Cargo.lock");
    fs::copy(shell::workspace_root().join("Cargo.lock"), &lock)
        .with_context(|| format!("cannot write `{}`", lock.display()))?;
    shell::run(
        shell::cargo()
            .args(["test", "--release", "--manifest-path"])
            .arg(directory.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(shell::target_dir()),
    )
}

/// The tests of the data crate that need fetched files.
fn published(args: &Args) -> Command {
    let mut command = shell::cargo_in_workspace("test");
    command.args([
        "--release",
        "--workspace",
        "--features",
        "cadft-data/real",
        "--test",
        "data",
    ]);
    let published = ["published".to_owned()];
    let filter = if args.filter.is_empty() {
        &published[..]
    } else {
        &args.filter
    };
    command.arg("--").args(filter);
    command
}

fn command(args: &Args) -> Command {
    let mut command = shell::cargo_in_workspace("test");
    command.arg("--release");
    let mut features = extra_features(&args.backend);
    if !features.is_empty() {
        let asked: Vec<_> = args.backend.iter().map(|backend| backend.feature()).collect();
        command.env(ASKED, asked.join(","));
    }
    if args.real {
        features.push("real");
    }
    if args.mpi {
        features.push("mpi");
    }
    if features.is_empty() {
        command.arg("--workspace");
    } else {
        command.args(["--package", "cadft-tests", "--features", &features.join(",")]);
    }
    if args.real {
        command.args(["--test", "real"]);
    }
    if !args.filter.is_empty() {
        command.arg("--").args(&args.filter);
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn built(words: &[&str]) -> String {
        let line = Line::parse_from([&["test"], words].concat());
        shell::arguments(&command(&line.args))
    }

    #[test]
    fn the_plain_command_tests_the_whole_workspace() {
        assert!(built(&[]).ends_with("--release --workspace"));
        assert!(built(&["padding"]).ends_with("--release --workspace -- padding"));
    }

    #[test]
    fn several_backends_share_one_build() {
        let line = built(&["--backend", "ndarray,wgpu"]);
        assert!(
            line.ends_with("--release --package cadft-tests --features ndarray,wgpu"),
            "{line}"
        );
    }

    #[test]
    fn the_suites_run_on_the_backends_asked_for_and_no_others() {
        let asked = |words: &[&str]| {
            let line = Line::parse_from([&["test"], words].concat());
            let command = command(&line.args);
            let mut variables = command.get_envs().filter(|(name, _)| *name == ASKED);
            variables
                .next()
                .and_then(|(_, value)| Some(value?.to_string_lossy().into_owned()))
        };
        assert_eq!(
            asked(&["--backend", "ndarray,wgpu"]).as_deref(),
            Some("ndarray,wgpu")
        );
        assert_eq!(asked(&["--backend", "flex,wgpu"]).as_deref(), Some("flex,wgpu"));
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn the_program_outside_runs_with_all_tests_and_no_choice_of_them() {
        let everything = |words: &[&str]| is_everything(&Line::parse_from([&["test"], words].concat()).args);
        assert!(everything(&[]) && everything(&["--backend", "flex"]));
        for words in [&["padding"][..], &["--real"], &["--backend", "wgpu"]] {
            assert!(!everything(words), "{words:?}");
        }
    }

    #[test]
    fn real_tests_are_a_target_of_their_own() {
        let line = built(&["--real"]);
        assert!(
            line.ends_with("--release --package cadft-tests --features real --test real"),
            "{line}"
        );
    }
}
