//! Runs a command on a terminal, or on a terminal that has been closed.

use crate::command::cache;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The two ends of a terminal.
fn pair() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: both pointers are valid, and the system accepts null for name and settings.
    let code = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast()) };
    assert_eq!(code, 0, "the system has terminals");
    // SAFETY: the call has just opened both descriptors, and nothing else owns them.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

fn start(binary: &str, directory: &Path, args: &[&str], terminal: &OwnedFd) -> Child {
    let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
    let child = Command::new(binary)
        .args(args)
        .current_dir(directory)
        .env("CADFT_CACHE", cache())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
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
    let (mut ours, theirs) = pair();
    let mut child = start(binary, directory, args, &theirs);
    drop(theirs);
    let mut written = vec![];
    // On Linux, a read fails after the other end is closed.
    let _ = ours.read_to_end(&mut written);
    let code = child.wait().expect("a child").code();
    (code, String::from_utf8_lossy(&written).into_owned())
}

/// The exit code of `binary` on a terminal that is closed before the first output.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn run_on_none(binary: &str, directory: &Path, args: &[&str]) -> Option<i32> {
    let (ours, theirs) = pair();
    assert!(ours.as_raw_fd() >= 0);
    drop(ours);
    start(binary, directory, args, &theirs)
        .wait()
        .expect("a child")
        .code()
}
