//! The shards of a global batch, and the ranks that may share them.

use super::{BatchSection, Recipe};
use crate::error::TrainError;
use cadft_step::ranks::Sharing;

/// The ranks of a run. Recipes are equal whatever ranks run them.
#[derive(Clone, Copy, Debug)]
pub struct RanksOfRun {
    /// All of them.
    pub count: usize,
    /// Those on this machine.
    pub on_machine: usize,
}

impl PartialEq for RanksOfRun {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Default for RanksOfRun {
    fn default() -> Self {
        Self {
            count: 1,
            on_machine: 1,
        }
    }
}

impl BatchSection {
    /// The number of shards; one if the recipe does not say.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.unwrap_or(1)
    }

    /// How global batches and gradients are shared out.
    pub(crate) fn sharing(&self) -> Sharing {
        Sharing {
            shards: self.shards(),
            stage: self.zero_stage,
        }
    }

    /// Whether the shards can be shared out among ranks: as many to each, and a power of two of them.
    ///
    /// # Errors
    /// Shards that cannot.
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
    /// Sets the ranks of the run, and the number of shards if the recipe does not say it.
    ///
    /// # Errors
    /// Shards that cannot be shared out among the ranks.
    pub fn shard_for(&mut self, ranks: RanksOfRun) -> Result<(), TrainError> {
        if ranks.count > 1 {
            self.batch.shards.get_or_insert(ranks.count);
        }
        self.batch.ranks = ranks;
        self.batch.check_ranks(ranks.count)
    }
}
