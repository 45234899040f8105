//! The random masks of a model's adapter dropout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The seed of dropout masks, shared by a model and its clones. Every forward pass uses it and then increments it.
///
/// Dropout is active on devices with autodiff, as everywhere in Burn.
#[derive(Clone, Debug, Default)]
pub struct DropoutClock {
    now: Arc<AtomicU64>,
    forced: Arc<AtomicBool>,
}

impl DropoutClock {
    /// Sets the seed of the next forward pass.
    pub(crate) fn set(&self, seed: u64) {
        self.now.store(seed, Ordering::Relaxed);
    }

    /// Increments the seed, so that the next forward pass draws other masks.
    pub(crate) fn tick(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Whether masks are also drawn without autodiff.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced.load(Ordering::Relaxed)
    }

    /// Runs `work` with masks drawn even without autodiff.
    pub(crate) fn forced<T>(&self, work: impl FnOnce() -> T) -> T {
        self.forced.store(true, Ordering::Relaxed);
        let result = work();
        self.forced.store(false, Ordering::Relaxed);
        result
    }
}
