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
//! output.rs      the answers of commands, on standard output; `closed.rs` detects that it is closed
//! destination.rs checks of output paths
//! shown.rs       text whose foreign parts cannot control the terminal
//! report.rs      one HTML page about runs          reference.rs the generated parts of the book
//! row_texts.rs   questions and answers of rows, by id
//! facts.rs       the `--json` output of commands that write something
//! hint.rs        how errors are shown              exit.rs    exit codes
//! panics.rs      panics as errors                  log.rs     logs that leave the progress bar intact
//! interrupt.rs   signals                           launch.rs  threads or processes as ranks
//! start.rs       checks of arguments and environment, before any command
//! tolerance.rs   the tolerances of all tests       version.rs the text of `--version`
//! ```
//!
//! Data goes to standard output, everything else to standard error. This is the only crate that prints.

mod answer_text;
mod args;
mod assets;
mod closed;
mod command;
mod console;
mod destination;
mod device;
mod exit;
mod facts;
mod hint;
mod interrupt;
mod launch;
mod log;
mod model;
mod output;
mod panics;
mod recipe;
mod reference;
mod report;
mod row_texts;
mod shown;
mod start;
pub mod tolerance;
mod version;

use args::Cli;
use clap::Parser;
pub use exit::Exit;
use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};

/// Runs `cadft` with these arguments, the program's name first.
pub fn run<I, T>(args: I) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    interrupt::outlive_large_files();
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return start::refused(&error, &args),
    };
    if let Err(error) = start::check().and_then(|()| log::start(cli.verbose)) {
        return hint::report(&error);
    }
    if cli.quiet {
        console::be_quiet();
    }
    panics::keep(cli.verbose);
    // A panic must not change the meaning of the exit codes.
    match panic::catch_unwind(AssertUnwindSafe(|| command::run(&cli.command))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => hint::report(&error),
        Err(payload) => panics::report(payload.as_ref()),
    }
}
