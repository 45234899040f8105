//! Tokenised samples: in memory, or in a mapped file.

use std::fs::File;
use std::path::Path;

use cadft_batch::Example;

use crate::cache::file::TokenFile;
use crate::error::DataError;
use crate::tokenize::{Dataset, Report};

/// Tokenised samples in the order of their rows, and the report on all rows. The default is empty.
#[derive(Debug, Default)]
pub struct Samples {
    held: Held,
    report: Report,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<Example>),
    File(TokenFile),
}

impl Samples {
    /// The samples of a file that [`crate::cache`] wrote; `None` if it is damaged or has another version.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub(crate) fn from_file(path: &Path, file: &File) -> Result<Option<Self>, DataError> {
        let opened = TokenFile::open(file).map_err(|source| DataError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(opened.map(|(file, report)| Self {
            held: Held::File(file),
            report,
        }))
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        match &self.held {
            Held::Memory(examples) => examples.len(),
            Held::File(file) => file.len(),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sample at `index`.
    ///
    /// # Panics
    /// If `index >= self.len()`.
    pub fn get(&self, index: usize) -> Example {
        match &self.held {
            Held::Memory(examples) => examples[index].clone(),
            Held::File(file) => file.get(index),
        }
    }

    /// Starts reading samples ahead if they are in a file; returns at once.
    pub fn prefetch(&self, indices: &[usize]) {
        if let Held::File(file) = &self.held {
            file.prefetch(indices);
        }
    }

    /// Number of tokens of the sample at `index`.
    ///
    /// # Panics
    /// If `index >= self.len()`.
    pub fn tokens_of(&self, index: usize) -> usize {
        match &self.held {
            Held::Memory(examples) => examples[index].token_ids.len(),
            Held::File(file) => file.tokens_of(index),
        }
    }

    /// Iterates over all samples in their order.
    pub fn iter(&self) -> impl Iterator<Item = Example> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The report on all rows, including dropped ones.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl<'a> IntoIterator for &'a Samples {
    type Item = Example;
    type IntoIter = Box<dyn Iterator<Item = Example> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl From<Dataset> for Samples {
    fn from(dataset: Dataset) -> Self {
        Self {
            held: Held::Memory(dataset.examples),
            report: dataset.report,
        }
    }
}
