//! Whether f32 products may use TF32: a setting of the process.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether f32 products may be computed in TF32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tf32 {
    /// The backend chooses, usually the faster TF32.
    #[default]
    Allowed,
    /// Factors keep the full precision of f32.
    Refused,
}

impl Tf32 {
    /// `Allowed` if `is_allowed`, otherwise `Refused`.
    #[must_use]
    pub fn from_flag(is_allowed: bool) -> Self {
        if is_allowed { Self::Allowed } else { Self::Refused }
    }
}

/// Process-wide, like Burn's own settings of a device.
static IS_REFUSED: AtomicBool = AtomicBool::new(false);

/// Sets the choice for all later products of every thread.
pub fn set_tf32(tf32: Tf32) {
    IS_REFUSED.store(tf32 == Tf32::Refused, Ordering::Relaxed);
}

/// The current setting; [`Tf32::Allowed`] if none was set.
#[must_use]
pub fn tf32() -> Tf32 {
    Tf32::from_flag(!IS_REFUSED.load(Ordering::Relaxed))
}
