//! Opening files to append and to read.

use crate::new_file::not_regular;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Opens a file to append to, and creates it if it is absent. A link is refused: the data would go to another
/// directory.
///
/// # Errors
/// If `path` is a link or not a regular file; any error of the file system.
pub fn append(path: &Path) -> io::Result<File> {
    refuse_link(path)?;
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    strictly(&mut options, Links::Refused);
    regular(options.open(path)?)
}

/// Opens a regular file for reading; links are followed. A pipe or a device is refused, so that the call cannot block.
///
/// # Errors
/// If `path` is not a regular file; any error of the file system.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    strictly(&mut options, Links::Followed);
    regular(options.open(path)?)
}

/// The bytes of a regular file.
///
/// # Errors
/// The same as [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a regular file of at most `limit` bytes. The limit also guards against sparse files, whose size costs
/// no download.
///
/// # Errors
/// The same as [`open`]; also if the file is larger.
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
/// The same as [`open`]; also if the text is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Returns an error if `path` is a link: writing below it would change another directory.
///
/// # Errors
/// If `path` is a link.
pub fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a link, and what it points to is not written to",
        )),
        _ => Ok(()),
    }
}

/// How links are treated.
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

/// Lets the system refuse a link created after the check, and open pipes without waiting for the other end.
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
