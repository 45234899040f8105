//! Runs other programs, showing each command line, and knows the directories of the project.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};

/// A child process that ended with a non-zero exit code.
#[derive(Debug)]
pub(crate) struct ChildExit {
    /// The program that failed.
    pub(crate) program: String,
    /// Its exit code; 130 after an interrupt, 1 after any other signal.
    pub(crate) code: u8,
}

impl std::fmt::Display for ChildExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ended with exit code {}", self.program, self.code)
    }
}

impl std::error::Error for ChildExit {}

/// The root of the workspace that this binary belongs to.
pub(crate) fn workspace_root() -> PathBuf {
    // Cargo sets the variable at run time; the compiled-in value is for a binary that is started directly.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The directory for downloads and Python environments: `CADFT_CACHE`, or `cadft` in the user's cache directory.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("CADFT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("cadft")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache").join("cadft")))
        .ok_or_else(|| anyhow!("no cache directory: none of `CADFT_CACHE`, `XDG_CACHE_HOME`, `HOME` is set"))
}

/// Cargo's target directory for this workspace, which the environment or a configuration may have changed.
pub(crate) fn target_dir() -> PathBuf {
    let asked = cargo_in_workspace("metadata")
        .args(["--no-deps", "--format-version", "1", "--offline"])
        .stderr(Stdio::null())
        .output();
    let metadata: Option<serde_json::Value> = asked
        .ok()
        .and_then(|output| serde_json::from_slice(&output.stdout).ok());
    metadata
        .as_ref()
        .and_then(|metadata| metadata["target_directory"].as_str())
        .map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

/// The Cargo that started this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `cargo --locked VERB --manifest-path ROOT/Cargo.toml`, in the caller's directory. Dependencies are exactly those of
/// the lock file.
pub(crate) fn cargo_in_workspace(verb: &str) -> Command {
    let mut command = cargo();
    command
        .arg("--locked")
        .arg(verb)
        .arg("--manifest-path")
        .arg(workspace_root().join("Cargo.toml"));
    command
}

/// Builds the `cadft` command as the tests do, and returns its path.
pub(crate) fn built_command() -> Result<PathBuf> {
    run(cargo_in_workspace("build").args(["--release", "--workspace", "--bin", "cadft"]))?;
    Ok(target_dir().join("release/cadft"))
}

/// Prints the command line on standard error and runs it; a non-zero exit is a [`ChildExit`].
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = short_name(command.get_program());
    eprintln!("$ {}", display(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    if status.success() {
        return Ok(());
    }
    Err(ChildExit {
        program,
        code: exit_code(status),
    }
    .into())
}

/// As [`run`]; returns the standard output of the command.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = short_name(command.get_program());
    eprintln!("$ {}", display(command));
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{program}`"))?;
    if !output.status.success() {
        let code = exit_code(output.status);
        return Err(ChildExit { program, code }.into());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{program}` printed no text"))
}

/// Whether `program ARGS..` can be started and succeeds. Prints nothing.
pub(crate) fn succeeds<S: AsRef<OsStr>>(program: S, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(unix)]
fn exit_code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    const SIGINT: i32 = 2;
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, Some(SIGINT)) => 130,
        (None, _) => 1,
    }
}

#[cfg(not(unix))]
fn exit_code(status: std::process::ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

fn display(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        let (name, value) = (name.to_string_lossy(), value?.to_string_lossy());
        Some(format!("{name}={}", quoted(&value)))
    });
    let words = command.get_args().map(|word| quoted(&word.to_string_lossy()));
    environment
        .chain([short_name(command.get_program())])
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

fn short_name(program: &OsStr) -> String {
    Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy()
        .into_owned()
}

/// The arguments of a command, separated by spaces, for messages.
#[cfg(test)]
pub(crate) fn arguments(command: &Command) -> String {
    command
        .get_args()
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_command_lines_can_be_pasted() {
        let mut command = Command::new("/some/where/cargo");
        command
            .args(["test", "a b", "--x=1"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            display(&command),
            "RUSTDOCFLAGS='-D warnings' cargo test 'a b' --x=1"
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_exit_code_of_a_child_is_kept() {
        let error = run(Command::new("sh").args(["-c", "exit 2"])).unwrap_err();
        assert_eq!(error.downcast_ref::<ChildExit>().unwrap().code, 2);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("cadft-no-such-program")).unwrap_err();
        assert!(
            format!("{error:#}").contains("cannot start `cadft-no-such-program`"),
            "{error:#}"
        );
    }
}
