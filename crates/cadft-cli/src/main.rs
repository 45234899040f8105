//! The `cadft` command.

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ! {
    cadft_cli::run(std::env::args_os()).end()
}
