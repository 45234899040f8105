//! The values of every sample of the training data under a model that stays as it is.

use super::{cache, values};
use crate::error::TrainError;
use crate::prepare::Prepared;
use cadft_core::TokenReference;
use cadft_data::Example;
use cadft_model::CausalLm;
use cadft_step::Ranks;
use std::sync::atomic::{AtomicBool, Ordering};

/// Samples between two looks at whether to stop.
const AT_A_TIME: usize = 256;

/// The values of the supervised tokens of every sample, one after the other.
#[derive(Debug, PartialEq)]
pub(crate) struct Kept {
    values: Vec<f32>,
    /// Where the values of each sample begin, and where the last end.
    starts: Vec<usize>,
}

impl Kept {
    /// From the cache, if they are there; else they are computed, and kept for the next run. `None` if that was stopped.
    pub(super) fn of(
        ranks: &Ranks,
        prepared: &Prepared,
        wanted: TokenReference,
        model: &CausalLm,
        stop: &AtomicBool,
    ) -> Result<Option<Self>, TrainError> {
        let starts = starts(prepared);
        let count = starts.last().copied().unwrap_or(0);
        // Ranks may have caches of their own: that of the first counts.
        let place = ranks
            .is_first()
            .then(|| cache::Place::of(prepared, wanted))
            .flatten();
        let found = match &place {
            Some(place) => place.read(count)?,
            None => None,
        };
        if ranks.any(found.is_some()) {
            let bytes = found.map(|values| cache::bytes(&values)).unwrap_or_default();
            let values = cache::values(&ranks.from_first(&bytes));
            return Ok(Some(Self { values, starts }));
        }
        tracing::info!(samples = prepared.train.len(), "the frozen model reads the data");
        let frozen = prepared.frozen(model)?;
        let mut all = Vec::with_capacity(count);
        for first in (0..prepared.train.len()).step_by(AT_A_TIME) {
            if ranks.any(stop.load(Ordering::Relaxed)) {
                return Ok(None);
            }
            let last = (first + AT_A_TIME).min(prepared.train.len());
            let samples: Vec<Example> = (first..last).map(|sample| prepared.train.get(sample)).collect();
            all.extend(values(ranks, &frozen, &samples, wanted).into_iter().flatten());
        }
        if let Some(place) = place {
            place.write(&all)?;
        }
        Ok(Some(Self { values: all, starts }))
    }

    /// The values of a sample.
    pub(crate) fn of_sample(&self, sample: usize) -> Vec<f32> {
        self.values[self.starts[sample]..self.starts[sample + 1]].to_vec()
    }
}

/// Where the values of each sample begin, and where the last end.
fn starts(prepared: &Prepared) -> Vec<usize> {
    let mut starts = vec![0];
    let mut end = 0;
    for sample in &prepared.train {
        end += sample.supervised();
        starts.push(end);
    }
    starts
}
