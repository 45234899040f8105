//! Atomic writing of files and directories, the only code of the workspace that writes them. Also: making foreign text
//! safe to show, and hints of errors.
//!
//! Internal to cadft: nothing here is promised to users, and any version may change it.
//!
//! ```text
//! new_file.rs       a file, written under a temporary name and then renamed
//! new_directory.rs  a directory, likewise
//! open.rs           files that grow, and files that are read: never through a link, never waiting for a device
//! sync.rs           what is on the disk, not only on its way to it
//! similar.rs        what is there under a name like one that is not
//! occupied.rs       what a directory holds, and whether two paths are one file
//! visible.rs        text from elsewhere, as it can be shown
//! action.rs, hint.rs  what errors say: what was being done, and what to do about it
//! ```
//!
//! The feature `files`, on by default, is what opens and writes; without it text and errors remain.
//!
//! A temporary name is random and always created anew, so a link of that name cannot be prepared. If the target is a
//! link, the new file replaces the link; the file that it points to is not touched.

mod action;
mod hint;
#[cfg(feature = "files")]
mod new_directory;
#[cfg(feature = "files")]
mod new_file;
#[cfg(feature = "files")]
mod occupied;
#[cfg(feature = "files")]
mod open;
#[cfg(feature = "files")]
mod similar;
#[cfg(feature = "files")]
mod sync;
mod visible;

pub use action::Action;
pub use hint::{Hint, with_hints};
#[cfg(feature = "files")]
pub use new_directory::{NewDirectory, check_directory};
#[cfg(feature = "files")]
pub use new_file::{NewFile, check_target, clean, clean_beside, create_new, is_temporary, write, write_new};
#[cfg(feature = "files")]
pub use occupied::{entries, is_same, is_within, listed, stays_below};
#[cfg(feature = "files")]
pub use open::{append, open, read, read_to_string, read_up_to, refuse_link};
#[cfg(feature = "files")]
pub use similar::similar;
#[cfg(feature = "files")]
pub use sync::{make_readable, sync, sync_parent, sync_tree};
pub use visible::{ShownPath, shown, visible_json, visible_name, visible_text};
