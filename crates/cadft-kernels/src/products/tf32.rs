//! Whether products of f32 may leave f32: a setting of the process.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether products of f32 may be computed in TF32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tf32 {
    /// The backend's own choice, usually its fastest.
    #[default]
    Allowed,
    /// Every factor keeps the digits of f32.
    Refused,
}

impl Tf32 {
    /// From a setting where `true` allows it.
    #[must_use]
    pub fn from_flag(is_allowed: bool) -> Self {
        if is_allowed { Self::Allowed } else { Self::Refused }
    }
}

/// Of the process, as Burn's own settings of a device are.
static IS_REFUSED: AtomicBool = AtomicBool::new(false);

/// Chooses for all products from now on, of every thread.
pub fn set_tf32(tf32: Tf32) {
    IS_REFUSED.store(tf32 == Tf32::Refused, Ordering::Relaxed);
}

/// What was chosen last.
#[must_use]
pub fn tf32() -> Tf32 {
    Tf32::from_flag(!IS_REFUSED.load(Ordering::Relaxed))
}
