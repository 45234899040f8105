//! The command under test, built with this package's backends.

fn main() -> ! {
    cadft_cli::run(std::env::args_os()).end()
}
