//! The digest of a data set with its rewrites.

use cadft_data::{Example, Samples};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// SHA-256 of a data set with some samples replaced: ids, tokens and masks, in order.
#[must_use]
pub fn digest(source: &Samples, rewritten: &BTreeMap<usize, Example>) -> String {
    let mut hash = Sha256::new();
    for sample in 0..source.len() {
        let example = rewritten
            .get(&sample)
            .cloned()
            .unwrap_or_else(|| source.get(sample));
        hash.update((example.id.len() as u64).to_le_bytes());
        hash.update(&example.id);
        hash.update((example.token_ids.len() as u64).to_le_bytes());
        for (id, &trained) in example.token_ids.iter().zip(&example.loss_mask) {
            let mut bytes = [0; 5];
            bytes[..4].copy_from_slice(&id.to_le_bytes());
            bytes[4] = u8::from(trained);
            hash.update(bytes);
        }
    }
    crate::checkpoint::hex(&hash.finalize())
}
