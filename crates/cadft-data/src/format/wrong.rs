//! Problems of a record.

use std::fmt;

use crate::shown::names;

/// A problem of a record.
#[derive(Debug, Clone)]
pub(crate) enum Wrong {
    /// Required keys are absent, which may be the case in every record of the file.
    Absent(Absent),
    /// A value is not valid.
    Value(String),
}

/// Required keys that a record lacks.
#[derive(Debug, Clone)]
pub(crate) struct Absent {
    /// A description of the absent keys.
    pub(crate) what: String,
    /// The keys that the record has.
    pub(crate) found: Vec<String>,
    pub(crate) hint: Option<&'static str>,
}

impl Wrong {
    pub(crate) fn absent(&self) -> Option<&Absent> {
        match self {
            Self::Absent(absent) => Some(absent),
            Self::Value(_) => None,
        }
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        self.absent().and_then(|absent| absent.hint)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(absent) => absent.fmt(f),
            Self::Value(message) => f.write_str(message),
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found.as_slice() {
            [] => write!(f, "{}: found no keys", self.what),
            found => write!(f, "{}: found {}", self.what, names(found)),
        }
    }
}
