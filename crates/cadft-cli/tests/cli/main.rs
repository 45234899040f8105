//! The command as a program: its output, where the output goes, and its exit code.

mod book;
mod coming_from;
mod data;
mod everyday;
mod first_hour;
mod first_hour_page;
mod help;
mod model;
mod recipe;
mod train;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The command, in a new empty directory and with a new cache.
pub(crate) struct Cadft {
    directory: tempfile::TempDir,
}

/// The result of running the command.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cadft {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file in a temporary directory");
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cadft"));
        command
            .args(args)
            .current_dir(self.directory.path())
            .env("CADFT_CACHE", self.path("cache"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("the command starts"))
    }

    /// Standard output of a run that must succeed.
    pub(crate) fn answer(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?} failed: {}", ran.stderr);
        ran.stdout
    }

    /// Standard error of a run that must fail because of its usage or input.
    pub(crate) fn refusal(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?} wrote to standard output");
        ran.stderr
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
    Ran {
        code: output.status.code().expect("the command exits by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A fixture file; this package shares them with the tests of the whole workspace.
pub(crate) fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/blackbox");
    path.join(name).to_string_lossy().into_owned()
}

/// Parses one JSON object from each line.
pub(crate) fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
