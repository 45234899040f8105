//! The samples of a data set as they were read.

use cadft_data::{Example, Samples};

/// Samples by their position in a data set, as they were read.
pub trait SourceSamples {
    /// How many there are.
    fn count(&self) -> usize;

    /// A sample.
    ///
    /// # Panics
    /// If there are not so many.
    fn get(&self, sample: usize) -> Example;
}

impl SourceSamples for Samples {
    fn count(&self) -> usize {
        self.len()
    }

    fn get(&self, sample: usize) -> Example {
        Self::get(self, sample)
    }
}

impl SourceSamples for Vec<Example> {
    fn count(&self) -> usize {
        self.len()
    }

    fn get(&self, sample: usize) -> Example {
        self[sample].clone()
    }
}
