//! The commands with their arguments, from `clap`.

use super::cell;
use crate::args::Cli;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write as _;

/// Calls `visit` with the full name of every visible command, in the order of the help.
fn each(mut visit: impl FnMut(&str, &mut Command)) {
    let mut root = Cli::command().term_width(100);
    root.build();
    walk("cadft", &mut root, &mut visit);
}

fn walk(name: &str, command: &mut Command, visit: &mut impl FnMut(&str, &mut Command)) {
    visit(name, command);
    let is_shown = |command: &&mut Command| !command.is_hide_set() && command.get_name() != "help";
    for command in command.get_subcommands_mut().filter(is_shown) {
        walk(&format!("{name} {}", command.get_name()), command, visit);
    }
}

/// A section for each command: what it does, its synopsis, and its arguments.
pub(super) fn markdown() -> String {
    let mut text = String::new();
    each(|name, command| {
        let about = sentence(&command.get_about().map(ToString::to_string).unwrap_or_default());
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        let _ = write!(text, "### `{name}`\n\n{about}\n\n```text\n{usage}\n```\n\n");
        let is_root = name == "cadft";
        let rows: String = (command.get_arguments())
            .filter(|argument| is_shown(argument, is_root))
            .map(row)
            .collect();
        if !rows.is_empty() {
            let _ = write!(text, "| argument | meaning |\n|---|---|\n{rows}\n");
        }
    });
    text.trim_end().to_owned() + "\n"
}

/// Whether to show an argument. Those that every command has are shown once, at the top.
fn is_shown(argument: &Arg, is_root: bool) -> bool {
    let is_common = argument.is_global_set() && !is_root;
    !argument.is_hide_set() && !is_common && !["help", "version"].contains(&argument.get_id().as_str())
}

fn row(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let mut meaning = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let takes_value = argument.get_action().takes_values();
    let choices: Vec<_> = (argument.get_possible_values().iter())
        .filter(|_| takes_value)
        .map(|choice| match choice.get_help() {
            Some(help) => format!("`{}`: {help}", choice.get_name()),
            None => format!("`{}`", choice.get_name()),
        })
        .collect();
    if !choices.is_empty() && !argument.is_hide_possible_values_set() {
        let _ = write!(
            meaning,
            " One of {}.",
            choices.join("; ").replace(".;", ";").trim_end_matches('.')
        );
    }
    let defaults: Vec<_> = (argument.get_default_values().iter())
        .filter(|_| takes_value)
        .map(|value| value.to_string_lossy())
        .collect();
    if !defaults.is_empty() {
        let _ = write!(meaning, " Default: `{}`.", defaults.join(","));
    }
    format!("| `{}` | {} |\n", cell(&spelling(argument)), cell(&meaning))
}

/// Text with the final period that `clap` removes.
fn sentence(text: &str) -> String {
    let is_open = text.ends_with(|end: char| end.is_alphanumeric() || "`)".contains(end));
    text.to_owned() + if is_open { "." } else { "" }
}

/// The names of an argument and of its value, without the brackets for optional ones.
fn spelling(argument: &Arg) -> String {
    argument.to_string().replace(['<', '>'], "")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_help_of_every_command_is_as_recorded() {
        let mut helps = String::new();
        super::each(|name, command| {
            helps += &format!("$ {name} --help\n{}\n", command.render_long_help());
        });
        insta::assert_snapshot!(helps);
    }
}
