//! `cadft completions` and `cadft man`: completion scripts and manual pages, generated from the arguments.

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::console::{counted, next, note};
use crate::{destination, output};
use anyhow::{Context, Result};
use cadft_files::shown;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::path::Path;

pub(crate) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cadft", &mut script);
    output::exact(&String::from_utf8(script)?)?;
    next::completions(args.shell);
    Ok(())
}

/// Prints the manual page of the program, or writes the pages of all commands.
pub(crate) fn man(args: &ManArgs) -> Result<()> {
    let mut root = Cli::command();
    root.build();
    let Some(out) = &args.out else {
        output::exact(&page(&root)?)?;
        next::manual(None);
        return Ok(());
    };
    destination::new_directory(out)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot write `{}`", shown(out)))?;
    let pages = write("cadft", &root, out)?;
    note(format!("{} in `{}`", counted(pages, "page"), shown(out)));
    next::manual(Some(out));
    Ok(())
}

/// Writes the pages of a command and of its subcommands. Returns their number.
fn write(name: &str, command: &Command, out: &Path) -> Result<usize> {
    let path = out.join(format!("{name}.1"));
    cadft_files::write(&path, page(command)?).with_context(|| format!("cannot write `{}`", shown(&path)))?;
    let is_shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let below = command.get_subcommands().filter(is_shown);
    let pages: Result<Vec<usize>> = below
        .map(|command| write(&format!("{name}-{}", command.get_name()), command, out))
        .collect();
    Ok(1 + pages?.iter().sum::<usize>())
}

fn page(command: &Command) -> Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8(page)?)
}
