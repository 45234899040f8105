//! Files that grow, and files that are read.

use crate::new_file::not_regular;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Opens a file to append to, or makes it. A link is refused: what is appended would go to another directory.
///
/// # Errors
/// A link, anything else that is not a regular file, and what the file system says.
pub fn append(path: &Path) -> io::Result<File> {
    refuse_link(path)?;
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    strictly(&mut options, Links::Refused);
    regular(options.open(path)?)
}

/// Opens a regular file for reading; a link to one is followed. A pipe or a device is refused rather than waited for.
///
/// # Errors
/// Anything but a regular file, and what the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    strictly(&mut options, Links::Followed);
    regular(options.open(path)?)
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a regular file of at most `limit` bytes. A file may have holes: its size says nothing about how much had to
/// be sent for it.
///
/// # Errors
/// As [`open`], and a file that is larger.
pub fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it is larger than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// The text of a regular file.
///
/// # Errors
/// As [`open`], and a text that is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Refuses a name that is a link: what is written below it would go elsewhere.
///
/// # Errors
/// The link.
pub fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a link, and what it points to is not written to",
        )),
        _ => Ok(()),
    }
}

/// What happens to a name that is a link.
#[derive(Clone, Copy)]
enum Links {
    Followed,
    Refused,
}

fn regular(file: File) -> io::Result<File> {
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(not_regular());
    }
    Ok(file)
}

/// The system refuses a link that was made after it was looked for, and does not wait for the other end of a pipe.
#[cfg(unix)]
fn strictly(options: &mut OpenOptions, links: Links) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = match links {
        Links::Followed => OFlags::NONBLOCK,
        Links::Refused => OFlags::NONBLOCK | OFlags::NOFOLLOW,
    };
    options.custom_flags(flags.bits().cast_signed());
}

#[cfg(not(unix))]
fn strictly(_options: &mut OpenOptions, _links: Links) {}
