//! Settings of the C library's allocator.

/// Keeps memory that is freed, for the next step to use again. By default, glibc gives large blocks back to the system, and every page
/// of the next ones is cleared and mapped anew: on a virtual machine up to a fifth of the processor time of a step.
///
/// Whoever sets `MALLOC_…` or `GLIBC_TUNABLES` in the environment chooses for themselves.
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
