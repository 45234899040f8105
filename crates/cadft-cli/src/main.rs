//! The `cadft` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    cadft_cli::run(std::env::args_os())
}
