//! Signals: SIGINT and SIGTERM ask a run to save and stop, and end the program at once when they come again. SIGHUP, of a
//! terminal that has gone, and SIGUSR1, of a job manager, ask once. A file that grows too large is an error of a write, and no signal.

use crate::exit::Exit;
use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A flag that the first signal sets.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the signal that sets the flag must not find it set.
        flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("cannot listen to signals")?;
    }
    #[cfg(unix)]
    if !is_ignored(libc::SIGHUP) {
        // The shell and the system may both send it: a second one is no second wish.
        flag::register(libc::SIGHUP, Arc::clone(&stop)).context("cannot listen to signals")?;
    }
    // What `mpirun` passes on to every rank, and what a job manager sends before the time is up.
    #[cfg(unix)]
    flag::register(libc::SIGUSR1, Arc::clone(&stop)).context("cannot listen to signals")?;
    Ok(stop)
}

/// Makes a write to a file that may not grow any more fail, where it would otherwise end the process.
pub(crate) fn outlive_large_files() {
    // Without it, the signal ends the program as it would have before.
    #[cfg(unix)]
    let _ = flag::register(libc::SIGXFSZ, Arc::default());
}

/// Whether the parent process wants a signal to be ignored, as `nohup` does.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call changes nothing, and fills in the old one where it succeeds; all zeros are a
    // value of the type, too.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
