//! Operations on files, named in errors.

use std::fmt;

/// The operation on a file or directory that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Creating a directory or an empty file.
    Create,
    /// Mapping a file into memory to read it.
    Map,
    /// Opening a file to read it.
    Open,
    /// Setting the permissions of a file.
    Permit,
    /// Reading a file, or the names in a directory.
    Read,
    /// Removing a file or directory.
    Remove,
    /// Renaming a file or directory.
    Rename,
    /// Synchronising written data to the disk.
    Synchronise,
    /// Writing a file.
    Write,
}

impl Action {
    /// Whether the operation changes nothing. A failure is then a fault of the input.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Map | Self::Open | Self::Read)
    }
}

/// The verb that follows *cannot* in a message.
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
