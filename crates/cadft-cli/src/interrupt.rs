//! Signals. The first SIGINT or SIGTERM asks a run to save and stop; the second ends the program at once. SIGHUP (from
//! a closed terminal) and SIGUSR1 (from a job manager) only ask. SIGXFSZ is turned into a write error: a file that
//! grows too large does not end the process.

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
        // In this order: the first handler ends the program if the flag is set, so it must run before the second one
        // sets the flag.
        flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("cannot listen to signals")?;
    }
    #[cfg(unix)]
    if !is_ignored(libc::SIGHUP) {
        // The shell and the system may both send SIGHUP: the second does not end the program.
        flag::register(libc::SIGHUP, Arc::clone(&stop)).context("cannot listen to signals")?;
    }
    // `mpirun` forwards SIGUSR1 to every rank, and job managers send it before the time is up.
    #[cfg(unix)]
    flag::register(libc::SIGUSR1, Arc::clone(&stop)).context("cannot listen to signals")?;
    Ok(stop)
}

/// Makes a write beyond the file size limit fail with an error instead of ending the process.
pub(crate) fn outlive_large_files() {
    // If this fails, the signal ends the program, as by default.
    #[cfg(unix)]
    let _ = flag::register(libc::SIGXFSZ, Arc::default());
}

/// Whether the parent process has set a signal to be ignored, as `nohup` does.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, the call changes nothing and, if it succeeds, fills in the old action; all zeros
    // are a valid value of the type.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
