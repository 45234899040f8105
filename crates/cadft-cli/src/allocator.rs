//! The allocator of the command: the system's, but a request that cannot be met ends the process with one error.
//!
//! Rust's own answer is to abort: a signal and, with `RUST_BACKTRACE`, a backtrace. A caller that could do without the
//! memory gets no chance to: none here does more than to report it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code: the command failed, and its input is not at fault.
const FAILED: i32 = 1;
const MIB: f64 = (1 << 20) as f64;

/// The system's allocator, with an error instead of an abort.
pub(crate) struct Allocator;

/// Ends the process unless there is memory.
fn checked(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() && bytes > 0 {
        end(bytes);
    }
    memory
}

/// Reports, without allocating, that `bytes` could not be had, and ends the process.
#[cold]
fn end(bytes: usize) -> ! {
    static ENDS: AtomicBool = AtomicBool::new(false);
    // Several threads may fail at the same time; the first one reports.
    if !ENDS.swap(true, Ordering::Relaxed) {
        let mut text = [0; 512];
        let mut rest = &mut text[..];
        let _ = write!(
            rest,
            "error: there is no memory left: no room for {:.1} MiB more\n\
             hint: take less at a time (`batch.micro`, `--micro`, `--batch`), shorter texts or a smaller model, or allow more \
             (`ulimit -v`); a run goes on from its last checkpoint with `cadft train --resume RUN`\n",
            bytes as f64 / MIB
        );
        let left = rest.len();
        show(&text[..text.len() - left]);
    }
    signal_hook::low_level::exit(FAILED)
}

/// Writes to standard error. Not by its handle, which this very thread may be using.
#[cfg(unix)]
fn show(text: &[u8]) {
    // SAFETY: the call reads the bytes of `text`, as many as it has.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

#[cfg(not(unix))]
fn show(text: &[u8]) {
    let _ = std::io::stderr().write_all(text);
}

// SAFETY: every call is passed on to the system's allocator, and its answer is returned, unless the process ends. Nothing
// here unwinds.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's memory, which the system's allocator gave, and the caller's layout and size.
        checked(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's memory, which the system's allocator gave, and its layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// From now on, keeps memory that is freed, for the next step to use again. By default, glibc gives large blocks back to the system, and every page
/// of the next ones is cleared and mapped anew: on a virtual machine up to a fifth of the processor time of a step.
///
/// For training, not for reading what comes from elsewhere: a text that grows needs its old place and its new one at the same time then.
///
/// `MALLOC_…` and `GLIBC_TUNABLES` in the environment take precedence.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_memory() {
    let is_chosen = |name: &str| name.starts_with("MALLOC_") || name == "GLIBC_TUNABLES";
    if std::env::vars_os().any(|(name, _)| name.to_str().is_some_and(is_chosen)) {
        return;
    }
    // No block is mapped by itself, and the end of the heap is never given back (mallopt(3)).
    for (setting, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1)] {
        // SAFETY: the call changes two numbers of the allocator, under its lock.
        unsafe { libc::mallopt(setting, value) };
    }
}

/// Other allocators keep what they have.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_memory() {}
