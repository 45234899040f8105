//! What is there under a name like one that is not.

use std::path::{Path, PathBuf};

/// Entries of a directory that are looked at.
const LOOKED_AT: usize = 10_000;

/// The path beside one that is not there whose name is most like it; `None` if there is none, or nothing is like it.
#[must_use]
pub fn similar(path: &Path) -> Option<PathBuf> {
    let wanted = path.file_name()?.to_str()?;
    let directory = path.parent()?;
    let place = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let entries = place.read_dir().ok()?.take(LOOKED_AT).flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let distance = |name: &str| strsim::damerau_levenshtein(wanted, name);
    let nearest = names
        .map(|name| (distance(&name), name))
        .filter(|(distance, _)| (1..=(wanted.chars().count() / 3).max(1)).contains(distance))
        .min()?;
    Some(directory.join(nearest.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_name_with_the_fewest_changes_is_found() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["messages.jsonl", "eval.jsonl", "x"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let found = |name: &str| similar(&directory.path().join(name));
        assert_eq!(
            found("mesages.jsonl"),
            Some(directory.path().join("messages.jsonl"))
        );
        assert_eq!(found("eval.json"), Some(directory.path().join("eval.jsonl")));
        assert_eq!(found("something-else"), None);
        assert_eq!(found("absent/messages.jsonl"), None);
        assert_eq!(
            found("messages.jsonl"),
            None,
            "it is there, and was not what could not be read"
        );
    }
}
