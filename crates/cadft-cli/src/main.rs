//! The `cadft` command.
fn main() {}
