//! What a program does with a file, for errors that say what failed.

use std::fmt;

/// What was being done with a file or directory when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Making a directory, or an empty file.
    Create,
    /// Mapping a file into memory to read it.
    Map,
    /// Opening a file to read it.
    Open,
    /// Setting who may read and write.
    Permit,
    /// Reading a file, or the names in a directory.
    Read,
    /// Removing.
    Remove,
    /// Renaming.
    Rename,
    /// Bringing what is written to the disk.
    Synchronise,
    /// Writing.
    Write,
}

impl Action {
    /// Whether nothing is changed by it, so that what it fails on is input.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Map | Self::Open | Self::Read)
    }
}

/// As it is said after *cannot*.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Map => "map",
            Self::Open => "open",
            Self::Permit => "set permissions in",
            Self::Read => "read",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::Synchronise => "synchronise",
            Self::Write => "write",
        })
    }
}
