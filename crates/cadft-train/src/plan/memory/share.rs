//! What the ranks of a run hold together.

use cadft_step::ranks::ZeroStage;

/// How moments and gradients are distributed among ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of ranks.
    pub ranks: usize,
    /// Number of shards.
    pub shards: usize,
    /// What only the owner of a parameter keeps.
    pub stage: ZeroStage,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            ranks: 1,
            shards: 1,
            stage: ZeroStage::One,
        }
    }
}
