//! How logits are computed from hidden states and the output weight.
//!
//! ```text
//! z = W h,   logits = z, or cap · tanh(z / cap)
//! ```

use crate::Precision;

/// How logits are computed from hidden states and the output weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogitOptions {
    /// The number format of the factors.
    pub precision: Precision,
    /// Maps logits `z` to `cap · tanh(z / cap)`.
    pub softcap: Option<f64>,
}

impl From<Precision> for LogitOptions {
    fn from(precision: Precision) -> Self {
        Self {
            precision,
            softcap: None,
        }
    }
}

impl From<Precision> for [LogitOptions; 2] {
    fn from(precision: Precision) -> Self {
        [precision.into(); 2]
    }
}
