//! Detects a standard output that was closed when the program started, as with `>&-`.
//!
//! Before `main`, the standard library opens `/dev/null` in place of a closed standard output, so that no other file
//! gets its number. Output is then lost without an error. So the check must run before the standard library does this.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT: AtomicBool = AtomicBool::new(false);

/// An error if standard output was closed at the start.
pub(crate) fn refuse_stdout() -> io::Result<()> {
    if STDOUT.load(Ordering::Relaxed) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(())
}

/// Runs before `main`, and before the standard library opens `/dev/null`.
#[cfg(target_os = "linux")]
extern "C" fn look() {
    // SAFETY: the call reads the flags of a file descriptor, which need not be open, and changes nothing.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: the loader calls the entries of this section as functions of this type (it passes arguments that `look` may
// ignore); `look` uses nothing that is initialised later.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
