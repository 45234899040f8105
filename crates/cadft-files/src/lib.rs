//! Files and directories that appear whole or not at all, the only place of the workspace that writes them; foreign text, as
//! it can be shown; and what errors say beside their message.
//!
//! Internal to cadft: nothing here is promised to users, and any version may change it.
//!
//! ```text
//! new_file.rs       a file under a temporary name, then under its own
//! new_directory.rs  a directory, likewise
//! open.rs           files that grow, and files that are read: never through a link, never waiting for a device
//! sync.rs           what is on the disk, not only on its way to it
//! occupied.rs       what a directory holds, and whether two paths are one file
//! visible.rs        text from elsewhere, as it can be shown
//! action.rs, hint.rs  what errors say: what was being done, and what to do about it
//! ```
//!
//! A temporary name cannot be guessed and is always made anew, so that a link of that name cannot be prepared. A name
//! that is taken by a link is given to the new file; what the link points to is not touched.

mod action;
mod hint;
mod new_directory;
mod new_file;
mod occupied;
mod open;
mod sync;
mod visible;

pub use action::Action;
pub use hint::{Hint, with_hints};
pub use new_directory::{NewDirectory, check_directory};
pub use new_file::{NewFile, check_target, clean, clean_beside, create_new, is_temporary, write, write_new};
pub use occupied::{entries, is_same, is_within, listed, stays_below};
pub use open::{append, open, read, read_to_string, read_up_to, refuse_link};
pub use sync::{make_readable, sync, sync_parent, sync_tree};
pub use visible::{ShownPath, shown, visible_json, visible_name, visible_text};
