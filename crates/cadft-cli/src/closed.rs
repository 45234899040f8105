//! Standard output that was closed when the program started, as with `>&-`.
//!
//! The standard library opens `/dev/null` in its place before `main`, so that no file is taken for it: what is written is
//! lost without an error. Whether it was closed can only be found out before that.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT: AtomicBool = AtomicBool::new(false);

/// Fails where standard output was closed.
pub(crate) fn refuse_stdout() -> io::Result<()> {
    if STDOUT.load(Ordering::Relaxed) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(())
}

/// Runs before `main`, and before what the standard library does there.
#[cfg(target_os = "linux")]
extern "C" fn look() {
    // SAFETY: the call asks for flags of a number that need not be an open file, and changes nothing.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: the loader calls what the section holds as functions of this type (it passes arguments that `look` need not
// take); `look` uses nothing that is set up later.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
