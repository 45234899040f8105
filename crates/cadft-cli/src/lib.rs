//! The command line of cadft: arguments, recipes, console and exit codes around the other crates.
//!
//! Users can rely on the command, its JSON and its exit codes. The library is internal: any version may change it.
//!
//! ```text
//! args.rs        the arguments as typed            command/   one file a command
//! recipe.rs      recipes by file or name           assets.rs  the embedded quickstart model and data
//! model.rs       a model directory, opened         device.rs  a device, opened and tested
//! answer_text.rs tokens to text while they are generated, up to a stop text
//! console.rs     what a run shows on standard error
//! output.rs      what a command answers on standard output, which `closed.rs` knows to be closed
//! grid.rs        tables on terminals of any width
//! destination.rs where a command writes
//! shown.rs       text in which nothing foreign steers the terminal
//! card.rs        the card of a model on the Hub
//! report.rs      one HTML page about runs        reference.rs what the book says of commands, keys and events
//! row_texts.rs   what rows ask and answer, by their ids   noise.rs   how far planted noise is separated from the rest
//! facts.rs       what commands that write something say with `--json`
//! hint.rs        errors: how they are shown        exit.rs    how a command ends
//! panics.rs      panics, as errors too           lines.rs   lines that somebody types
//! allocator.rs   what happens where no memory is left, and to memory that is freed
//! interrupt.rs   signals                           log.rs     logs, past the progress bar
//! start.rs       arguments and settings that cannot be worked with
//! tolerance.rs   how far results may be from what is expected   version.rs   what `--version` says
//! ```
//!
//! Data goes to standard output, everything else to standard error. This is the only crate that prints.

mod allocator;
mod answer_text;
mod args;
mod assets;
mod card;
mod closed;
mod command;
mod console;
mod destination;
mod device;
mod exit;
mod facts;
mod grid;
mod hint;
mod interrupt;
mod launch;
mod lines;
mod log;
mod model;
mod noise;
mod output;
mod panics;
mod recipe;
mod reference;
mod report;
mod row_texts;
mod schema;
mod shown;
mod start;
pub mod tolerance;
mod version;

use args::Cli;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
pub use exit::Exit;
use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Runs `cadft` with these arguments, the program's name first.
pub fn run<I, T>(args: I) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    interrupt::outlive_large_files();
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let parsed = Cli::command().try_get_matches_from(&args);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, is_json(&matches))));
    let (cli, is_json) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return start::refused(error, &args),
    };
    if let Err(error) = start::check().and_then(|()| log::start(cli.verbose)) {
        return hint::report(&error);
    }
    if cli.quiet {
        console::be_quiet();
    }
    if is_json {
        console::next::none();
    }
    panics::keep(cli.verbose);
    // A panic must not change the meaning of the exit codes.
    match panic::catch_unwind(AssertUnwindSafe(|| command::run(&cli.command))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => hint::report(&error),
        Err(payload) => panics::report(payload.as_ref()),
    }
}

/// Whether a command is asked for JSON.
fn is_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, below)) => is_json(below),
        None => matches.try_get_one::<bool>("json").ok().flatten() == Some(&true),
    }
}
