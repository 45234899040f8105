//! Checks arguments and environment variables before any command runs.

use crate::console::note;
use crate::exit::Exit;
use crate::hint::{self, UsageError};
use crate::shown::Shown;
use anyhow::Result;
use cadft_files::visible_text;
use cadft_train::config;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path};

/// The environment variable with the number of threads.
const THREADS: &str = "RAYON_NUM_THREADS";
/// More threads than any machine that this program was made for has.
const MOST_THREADS: usize = 4096;

/// Refuses values of environment variables that would cause failures later.
pub(crate) fn check() -> Result<()> {
    check_time_zone(&env::var("TZ").unwrap_or_default())?;
    let asked = env::var(THREADS).unwrap_or_default();
    // Values that are not numbers are ignored, as by rayon.
    match asked.trim().parse::<usize>() {
        Ok(threads) if threads > MOST_THREADS => Err(UsageError::new(
            format!("`{THREADS}`: {threads} threads are more than the {MOST_THREADS} that can be asked for"),
            "without the variable there are as many as the machine has processors",
        )
        .into()),
        _ => Ok(()),
    }
}

/// Checks a time zone. It may be the path of a file, which is read completely when a template asks for the date.
fn check_time_zone(zone: &str) -> Result<()> {
    const LARGEST: u64 = 1 << 20;
    let path = Path::new(zone.strip_prefix(':').unwrap_or(zone));
    let is_file = || fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= LARGEST);
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    if !goes_up && (path.is_relative() || is_file()) {
        return Ok(());
    }
    Err(UsageError::new(
        format!("`TZ`: `{zone}` is not a time zone"),
        "give a name, such as `Europe/Berlin`, or unset the variable",
    )
    .into())
}

/// Shows the message of `clap` about the arguments. Returns the exit code.
pub(crate) fn refused(mut error: clap::Error, args: &[OsString]) -> Exit {
    if error.kind() == ErrorKind::InvalidUtf8 {
        let names = args.iter().filter(|argument| argument.to_str().is_none());
        let names: Vec<_> = names
            .map(|argument| format!("`{}`", argument.to_string_lossy()))
            .collect();
        let error = UsageError::new(
            format!("not UTF-8: {}", names.join(", ")),
            "give the file or directory a name in UTF-8",
        );
        return hint::report(&error.into());
    }
    let meant = meant(&error, args);
    if meant.is_some() {
        // Its guess is about the letters of the name only.
        for guess in [
            ContextKind::SuggestedSubcommand,
            ContextKind::SuggestedArg,
            ContextKind::Suggested,
            ContextKind::TrailingArg,
        ] {
            error.remove(guess);
        }
    }
    let text = error.render().to_string();
    let is_plain = visible_text(&text) == text;
    let printed = if is_plain {
        error.print()
    } else {
        io::stderr().write_all(Shown::from(text).as_str().as_bytes())
    };
    if let Some(hint) = meant {
        note(format!("hint: {hint}"));
    }
    match printed {
        // If standard error is closed, the exit code stays the same.
        _ if error.use_stderr() => Exit::Usage,
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed,
        // Help and the version are not errors.
        _ => Exit::Done,
    }
}

/// What was probably meant by an unknown command or option, or what to do in place of an absent one.
fn meant(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => Some(name.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand)?;
            let known = COMMANDS.iter().find(|(other, _)| *other == name.to_lowercase());
            known
                .map(|(_, command)| format!("`cadft {command}` is probably what you mean"))
                .or_else(|| config::instead_of(name).map(str::to_owned))
        }
        ErrorKind::UnknownArgument => {
            let name = context(ContextKind::InvalidArg)?.strip_prefix("--")?;
            let has_recipe = |command: &OsString| command == "train" || command == "compare";
            let key = config::suggested_key(name).filter(|_| args.get(1).is_some_and(has_recipe));
            key.map(|key| format!("`--set {key}=VALUE` sets what you probably mean"))
                .or_else(|| config::instead_of(name).map(str::to_owned))
        }
        ErrorKind::InvalidValue => context(ContextKind::InvalidValue)
            .and_then(config::instead_of)
            .map(str::to_owned),
        // The option that is missing has a second form, which `clap` does not name.
        ErrorKind::MissingRequiredArgument if args.get(1).is_some_and(|command| command == "generate") => {
            Some(
                "`--prompt TEXT` answers one prompt, `--data FILE` those of a file, `cadft chat` as you type"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

/// Commands of other programs, and what they are here.
const COMMANDS: [(&str, &str); 16] = [
    ("benchmark", "bench"),
    ("convert", "model convert"),
    ("eval", "evaluate"),
    ("export", "model convert"),
    ("finetune", "train"),
    ("fine-tune", "train"),
    ("infer", "generate"),
    ("inference", "generate"),
    ("inspect", "data inspect"),
    ("lora", "train --adapter lora"),
    ("merge", "model merge"),
    ("merge-lora", "model merge"),
    ("preprocess", "data stats"),
    ("resume", "train --resume RUN"),
    ("sft", "train"),
    ("validate", "data validate"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_is_a_name_or_a_small_file() {
        for zone in ["", "UTC", "Europe/Berlin", "CET-1CEST", ":UTC", "no/such/zone"] {
            check_time_zone(zone).unwrap_or_else(|error| panic!("{zone}: {error}"));
        }
        for zone in [
            ":/../../../dev/zero",
            "/dev/zero",
            "../../../dev/zero",
            ":/no/such/file",
        ] {
            assert!(check_time_zone(zone).is_err(), "{zone}");
        }
    }
}
