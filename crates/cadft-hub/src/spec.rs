//! Names on the Hub.

mod parse;

use std::fmt;

const SCHEME: &str = "hf://";
const DATASETS: &str = "datasets/";

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

impl RepoKind {
    /// The plural used in the Hub's API and in directory names of the cache.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository at a revision, or one file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What the repository holds.
    pub kind: RepoKind,
    /// `OWNER/NAME`.
    pub id: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// A file of a data set, if only one file is named.
    pub file: Option<String>,
}

impl Spec {
    /// The name of the repository's directory in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.id.replace('/', "--"))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == RepoKind::Dataset {
            DATASETS
        } else {
            ""
        };
        write!(f, "{SCHEME}{kind}{}", self.id)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}
