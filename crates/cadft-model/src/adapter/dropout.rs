//! Which masks the dropout of a model's adapters draws.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number that every forward pass moves on and that the masks of the pass are drawn from, shared by a model and its
/// clones.
///
/// Dropout is active on a device with autodiff, as everywhere in Burn.
#[derive(Clone, Debug, Default)]
pub struct DropoutClock {
    now: Arc<AtomicU64>,
    forced: Arc<AtomicBool>,
}

impl DropoutClock {
    /// Sets the number that the next forward pass begins from.
    pub(crate) fn set(&self, seed: u64) {
        self.now.store(seed, Ordering::Relaxed);
    }

    /// Moves on: the next forward pass draws other masks.
    pub(crate) fn tick(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Whether masks are drawn without autodiff too.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced.load(Ordering::Relaxed)
    }

    /// Draws masks without autodiff too while `work` runs.
    pub(crate) fn forced<T>(&self, work: impl FnOnce() -> T) -> T {
        self.forced.store(true, Ordering::Relaxed);
        let result = work();
        self.forced.store(false, Ordering::Relaxed);
        result
    }
}
