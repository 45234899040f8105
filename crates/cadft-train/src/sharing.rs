//! Collects the results of work that was distributed among ranks.

use cadft_step::Ranks;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The results of distributed work ([`Ranks::has`]) in the order of the work, on every rank.
pub(crate) fn shared<T: Serialize + DeserializeOwned>(ranks: &Ranks, count: usize, own: Vec<T>) -> Vec<T> {
    if ranks.count() == 1 {
        return own;
    }
    let bytes = serde_json::to_vec(&own).expect("results are JSON");
    let mut of_ranks: Vec<_> = (ranks.tell(&bytes).into_iter())
        .map(|bytes| {
            let results: Vec<T> = serde_json::from_slice(&bytes).expect("every rank tells its results");
            results.into_iter()
        })
        .collect();
    (0..count)
        .map(|number| {
            let of_rank = &mut of_ranks[number % ranks.count()];
            of_rank.next().expect("every rank has its share of the work")
        })
        .collect()
}
