//! The `cadft` command.

fn main() -> ! {
    cadft_cli::run(std::env::args_os()).end()
}
