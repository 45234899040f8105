//! `cargo xtask train`: builds the command and trains a recipe.

use std::process::Command;

use anyhow::Result;

use crate::backend::{Backend, extra_features};
use crate::shell;

/// Arguments of `cargo xtask train`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A recipe file, or the name of an embedded recipe; without one the embedded quickstart.
    recipe: Option<String>,
    /// The backend to compile in besides flex, and to train on.
    #[arg(long, value_enum, default_value = "flex")]
    backend: Backend,
    /// Compute each step on this many threads, as `cadft train --ranks` does.
    #[arg(long)]
    ranks: Option<u16>,
    /// Arguments for `cadft train`, after `--`.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Builds `cadft` in the release profile and runs `cadft train`.
pub(crate) fn run(args: &Args) -> Result<()> {
    shell::run(&mut command(args))
}

fn command(args: &Args) -> Command {
    let mut command = shell::cargo_in_workspace("run");
    command.args(["--release", "--package", "cadft", "--bin", "cadft"]);
    let features = extra_features(&[args.backend]);
    if !features.is_empty() {
        command
            .arg("--no-default-features")
            .args(["--features", &format!("flex,{}", features.join(","))]);
    }
    command.args(["--", "train"]);
    if let Some(recipe) = &args.recipe {
        command.args(["--recipe", recipe]);
    }
    let names_device = args
        .args
        .iter()
        .any(|arg| arg == "--device" || arg.starts_with("--device="));
    if args.backend != Backend::Flex && !names_device {
        command.args(["--device", args.backend.feature()]);
    }
    if let Some(ranks) = args.ranks {
        command.args(["--ranks", &ranks.to_string()]);
    }
    command.args(&args.args);
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
        let line = Line::parse_from([&["train"], words].concat());
        shell::arguments(&command(&line.args))
    }

    #[test]
    fn without_arguments_the_default_build_runs_the_quickstart() {
        let line = built(&[]);
        assert!(
            line.ends_with("--release --package cadft --bin cadft -- train"),
            "{line}"
        );
    }

    #[test]
    fn a_backend_is_compiled_beside_flex_and_becomes_the_device() {
        let line = built(&["--backend", "cuda", "my.toml", "--", "--set", "run.seed=1"]);
        let tail = "--no-default-features --features flex,cuda -- \
                    train --recipe my.toml --device cuda --set run.seed=1";
        assert!(line.ends_with(tail), "{line}");
    }

    #[test]
    fn ranks_are_passed_on() {
        let line = built(&["--ranks", "2", "--", "--steps", "3"]);
        assert!(line.ends_with("-- train --ranks 2 --steps 3"), "{line}");
    }

    #[test]
    fn a_device_the_user_names_is_left_alone() {
        let line = built(&["--backend", "cuda", "--", "--device=cuda:1"]);
        assert!(line.ends_with("-- train --device=cuda:1"), "{line}");
    }

    #[test]
    fn an_unknown_backend_is_refused() {
        assert!(Line::try_parse_from(["train", "--backend", "tpu"]).is_err());
    }
}
