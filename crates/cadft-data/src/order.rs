//! Which example comes when in an epoch.
//!
//! The order is a function of (length, seed, epoch) alone, so a resumed run continues in the order it left.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the examples of an epoch are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A new permutation every epoch.
    #[default]
    Shuffled,
    /// As in the files.
    Sequential,
}

/// The positions of all `len` examples in the order of one epoch.
///
/// Shuffling is Fisher and Yates' from the last position down, with ChaCha8 keyed by the little-endian bytes of
/// `seed` and `epoch` and 16 zeros. Position `i` is exchanged with `⌊u·(i+1)/2⁶⁴⌋` for the next 64-bit word `u`;
/// the bias of that is below 2⁻³² for any data set that fits in memory. It is written out here so that the
/// order depends neither on the platform nor on the version of a library.
pub fn epoch_order(len: usize, order: Order, seed: u64, epoch: u64) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..len).collect();
    if order == Order::Shuffled {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        for i in (1..len).rev() {
            let j = (u128::from(random.next_u64()) * (i as u128 + 1)) >> 64;
            positions.swap(i, j as usize);
        }
    }
    positions
}
