//! The number of shards of a global batch, and the numbers of ranks that it allows.

use super::{BatchSection, Recipe};
use crate::error::TrainError;
use cadft_step::ranks::Sharing;

impl BatchSection {
    /// The number of shards; 1 if the recipe has none.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.unwrap_or(1)
    }

    /// How global batches and gradients are distributed.
    pub(crate) fn sharing(&self) -> Sharing {
        Sharing {
            shards: self.shards(),
            stage: self.zero_stage,
        }
    }

    /// Checks that the shards can be distributed among `ranks` ranks: each rank must get the same number, a power of
    /// two.
    ///
    /// # Errors
    /// If they cannot.
    pub(crate) fn check_ranks(&self, ranks: usize) -> Result<(), TrainError> {
        let shards = self.shards();
        let fits =
            |ranks: usize| ranks == 1 || shards.is_multiple_of(ranks) && (shards / ranks).is_power_of_two();
        if fits(ranks) {
            return Ok(());
        }
        let others = (1..=shards)
            .filter(|&ranks| fits(ranks))
            .map(|ranks| ranks.to_string());
        let others: Vec<String> = others.collect();
        Err(TrainError::mismatch(
            format!(
                "`batch.shards`: {shards} shards cannot be shared out among {ranks} ranks: each has as many, and a power of two"
            ),
            format!(
                "run on {} ranks, or set `batch.shards = {ranks}`",
                others.join(" or ")
            ),
        ))
    }
}

impl Recipe {
    /// Sets the number of shards to `ranks`, if the recipe has none.
    ///
    /// # Errors
    /// If the shards cannot be distributed among the ranks, or the optimizer needs whole parameters.
    pub fn shard_for(&mut self, ranks: usize) -> Result<(), TrainError> {
        if ranks > 1 {
            self.batch.shards.get_or_insert(ranks);
        }
        self.batch.check_ranks(ranks)?;
        let refused = self.of_shards().into_iter().find(|(holds, ..)| !holds);
        match refused {
            Some((_, key, message)) => Err(TrainError::mismatch(
                format!("`{key}`: {message}"),
                "the setting, or the number of ranks, must change",
            )),
            None => Ok(()),
        }
    }
}
