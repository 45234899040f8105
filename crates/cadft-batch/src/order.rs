//! The order of examples in an epoch.
//!
//! The order depends only on (length, seed, epoch), so a resumed run continues in the same order.

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

/// The indices of all `len` examples, in the order of one epoch.
///
/// Shuffling is the Fisher–Yates algorithm from the last position down. The random numbers are from ChaCha8, whose key
/// is the little-endian bytes of `seed` and `epoch`, followed by 16 zero bytes. Position `i` is exchanged with
/// `⌊u·(i+1)/2⁶⁴⌋` for the next 64-bit word `u`; the bias is below 2⁻³² for any data set that fits in memory. The
/// algorithm is written here so that the order does not depend on the platform or on the version of a library.
///
/// # Examples
/// ```
/// use cadft_batch::{Order, epoch_order};
///
/// assert_eq!(epoch_order(10, Order::Sequential, 42, 0), (0..10).collect::<Vec<_>>());
/// assert_eq!(epoch_order(10, Order::Shuffled, 42, 0), [7, 6, 5, 1, 0, 4, 8, 9, 2, 3]);
/// ```
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
