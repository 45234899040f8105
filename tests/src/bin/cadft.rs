//! The command under test, built with this package's backends.

fn main() -> std::process::ExitCode {
    cadft_cli::run(std::env::args_os())
}
