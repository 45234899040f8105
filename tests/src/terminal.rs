//! Runs a command on a terminal, or on a terminal that has been closed.

use crate::command::cache;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A terminal.
#[derive(Clone, Copy, Debug)]
pub struct Terminal<'a> {
    /// How wide it is.
    pub columns: u16,
    /// More variables of the environment.
    pub variables: &'a [(&'a str, &'a str)],
    /// What is typed, each after the screen has shown something behind what was waited for before.
    pub typed: &'a [(&'a str, &'a str)],
}

impl Default for Terminal<'_> {
    fn default() -> Self {
        Self {
            columns: 120,
            variables: &[],
            typed: &[],
        }
    }
}

/// The two ends of a terminal.
fn pair(columns: u16) -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let mut size = libc::winsize {
        ws_row: 40,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let none = std::ptr::null_mut();
    // SAFETY: the places are there, and the system needs no name and no other settings.
    let code = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            none,
            none.cast(),
            (&raw mut size).cast(),
        )
    };
    assert_eq!(code, 0, "the system has terminals");
    // SAFETY: the call has just opened both descriptors, and nothing else owns them.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

fn start(binary: &str, directory: &Path, args: &[&str], theirs: &OwnedFd, terminal: Terminal<'_>) -> Child {
    let end = || Stdio::from(theirs.try_clone().expect("a descriptor"));
    let input = if terminal.typed.is_empty() {
        Stdio::null()
    } else {
        end()
    };
    let child = Command::new(binary)
        .args(args)
        .current_dir(directory)
        .env("CADFT_CACHE", cache())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .envs(terminal.variables.iter().copied())
        .stdin(input)
        .stdout(end())
        .stderr(end())
        .spawn();
    child.expect("the command starts")
}

/// The output of `binary` on a terminal, and its exit code.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn run(binary: &str, directory: &Path, args: &[&str]) -> (Option<i32>, String) {
    run_on(Terminal::default(), binary, directory, args)
}

/// As [`run`], on a terminal as it is described.
///
/// # Panics
/// If it cannot be started, or does not show what is waited for.
#[must_use]
pub fn run_on(
    terminal: Terminal<'_>,
    binary: &str,
    directory: &Path,
    args: &[&str],
) -> (Option<i32>, String) {
    let (mut ours, theirs) = pair(terminal.columns);
    let mut child = start(binary, directory, args, &theirs, terminal);
    drop(theirs);
    let mut written: Vec<u8> = vec![];
    let mut seen = 0;
    for (shown, keys) in terminal.typed {
        let place = |written: &[u8]| {
            let mut windows = written.windows(shown.len());
            windows.position(|window| window == shown.as_bytes())
        };
        let found = loop {
            if let Some(found) = place(&written[seen..]) {
                break found;
            }
            let mut bytes = [0; 256];
            match ours.read(&mut bytes) {
                Ok(count) if count > 0 => written.extend(&bytes[..count]),
                _ => panic!("`{shown}` is not shown: {}", String::from_utf8_lossy(&written)),
            }
        };
        // What comes after it in the same read may be what is waited for next.
        seen += found + shown.len();
        ours.write_all(keys.as_bytes()).expect("the terminal is there");
    }
    // On Linux, a read fails after the other end is closed.
    let _ = ours.read_to_end(&mut written);
    let code = child.wait().expect("a child").code();
    // It may fail for that reason before the bytes that were written last are there; now they are.
    let _ = ours.read_to_end(&mut written);
    (code, String::from_utf8_lossy(&written).into_owned())
}

/// The exit code of `binary` on a terminal that is closed before the first output.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn run_on_none(binary: &str, directory: &Path, args: &[&str]) -> Option<i32> {
    let terminal = Terminal::default();
    let (ours, theirs) = pair(terminal.columns);
    assert!(ours.as_raw_fd() >= 0);
    drop(ours);
    start(binary, directory, args, &theirs, terminal)
        .wait()
        .expect("a child")
        .code()
}
