//! Tokenised training samples: in memory, or in a file that is mapped into it.

use std::fs::File;
use std::path::Path;

use crate::cache::file::TokenFile;
use crate::error::DataError;
use crate::tokenize::{Dataset, Example, Report};

/// Tokenised samples in the order of their rows, and what happened to the rows. By default there are none.
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
    /// The samples of a file that [`crate::cache`] wrote; nothing where it is damaged or of another version.
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

    /// How many samples there are.
    pub fn len(&self) -> usize {
        match &self.held {
            Held::Memory(examples) => examples.len(),
            Held::File(file) => file.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A sample.
    ///
    /// # Panics
    /// If `index >= self.len()`.
    pub fn get(&self, index: usize) -> Example {
        match &self.held {
            Held::Memory(examples) => examples[index].clone(),
            Held::File(file) => file.get(index),
        }
    }

    /// Has samples read ahead that will be asked for soon, where they are in a file; returns at once.
    pub fn prefetch(&self, indices: &[usize]) {
        if let Held::File(file) = &self.held {
            file.prefetch(indices);
        }
    }

    /// The number of tokens of a sample.
    ///
    /// # Panics
    /// If `index >= self.len()`.
    pub fn tokens_of(&self, index: usize) -> usize {
        match &self.held {
            Held::Memory(examples) => examples[index].token_ids.len(),
            Held::File(file) => file.tokens_of(index),
        }
    }

    /// All samples, one at a time.
    pub fn iter(&self) -> impl Iterator<Item = Example> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// What happened to the rows.
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
