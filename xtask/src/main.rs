//! Project automation: `cargo xtask VERB`. One file a verb; depends on no crate of this workspace.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backend;
mod bench;
mod ci;
mod docs;
mod fetch;
mod files;
mod fixtures;
mod gpu;
mod python;
mod quickstart;
mod reference;
mod shell;
mod soak;
mod study;
mod test;
mod tidy;
mod train;

/// Project automation for cadft.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the `cadft` command and train a recipe (without one: the embedded quickstart).
    Train(train::Args),
    /// Run the tests on the CPU, on other backends, or against a real checkpoint.
    Test(test::Args),
    /// Bring a checkpoint or a data set onto this machine.
    Fetch(fetch::Args),
    /// Regenerate, or check, the golden files made with PyTorch.
    Fixtures(fixtures::Args),
    /// Measure memory or speed.
    Bench(bench::Args),
    /// Train 2,000 steps and watch memory and file descriptors.
    Soak(soak::Args),
    /// Train the base model of the embedded quickstart again.
    QuickstartBase,
    /// Make the data of the study, and train the base model that it begins with.
    StudyBase(study::BaseArgs),
    /// Compare objectives on that base, with seeds and intervals, into `bench/study`.
    Study(study::Args),
    /// Build the API documentation and the book, warnings being errors.
    Docs,
    /// Write the generated parts of the reference pages, or check them.
    Reference(reference::Args),
    /// Check the rules of the repository that no compiler checks.
    Tidy,
    /// Formatting, lints, documentation and rules: what is checked besides the tests.
    Ci,
    /// Type-check, build or run the CUDA backend on a machine without a GPU and without LLVM.
    Gpu(gpu::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Train(args) => train::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Fetch(args) => fetch::run(&args),
        Verb::Fixtures(args) => fixtures::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Soak(args) => soak::run(&args),
        Verb::QuickstartBase => quickstart::run(),
        Verb::StudyBase(args) => study::base(&args),
        Verb::Study(args) => study::run(&args),
        Verb::Docs => docs::run(),
        Verb::Reference(args) => reference::run(&args),
        Verb::Tidy => tidy::run(),
        Verb::Ci => ci::run(),
        Verb::Gpu(args) => gpu::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A failed child process has already printed its error: only pass its exit code on.
            if let Some(exit) = error.downcast_ref::<shell::ChildExit>() {
                eprintln!("xtask: {exit}");
                return ExitCode::from(exit.code);
            }
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
