//! Which files of a directory belong to which split, by the rules of Hugging Face `datasets`: a name is one of the
//! split's keywords or has it between characters other than letters, in the file's name or a directory's.

use std::path::{Path, PathBuf};

use super::Source;
use super::files::error;
use crate::error::DataError;

/// The splits, and the words that stand for them.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The files of the source's split; all of them where the directory has one split or none.
pub(super) fn choose(source: &Source, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
    let root = Path::new(&source.path);
    if files.is_empty() {
        return Err(error(
            source,
            "the directory has no data files",
            "data files are .jsonl, .json, .csv, .tsv and .parquet, the first four also as .gz or .zst; what \
             `datasets` saved as .arrow can be written with `to_parquet`",
        ));
    }
    let names: Vec<_> = files
        .iter()
        .map(|file| file.strip_prefix(root).unwrap_or(file))
        .collect();
    let Some(split) = &source.split else {
        let mut found: Vec<_> = names.iter().filter_map(|name| split_of(name)).collect();
        found.sort_unstable();
        found.dedup();
        if found.len() < 2 {
            return Ok(files);
        }
        return Err(error(
            source,
            &format!("the directory has the splits {}", found.join(", ")),
            &format!(
                "say which with `split`, or name the files: `{}`",
                cadft_files::shown(&names[0])
            ),
        ));
    };
    let chosen: Vec<_> = files
        .iter()
        .zip(&names)
        .filter(|(_, name)| split_of(name) == Some(split) || has_word(name, &[split]))
        .map(|(file, _)| file.clone())
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = names
            .iter()
            .take(5)
            .map(|name| format!("`{}`", cadft_files::shown(&name)))
            .collect();
        return Err(error(
            source,
            &format!("no file belongs to the split `{split}`"),
            &format!("its files are {}", names.join(", ")),
        ));
    }
    Ok(chosen)
}

/// The split of a file, by its path below the directory.
fn split_of(name: &Path) -> Option<&'static str> {
    SPLITS
        .iter()
        .find(|(_, words)| has_word(name, words))
        .map(|(split, _)| *split)
}

fn has_word(name: &Path, words: &[&str]) -> bool {
    let name = name.to_string_lossy().to_lowercase();
    name.split(['-', '.', '_', ' ', '/', '\\'])
        .map(|part| part.trim_matches(|c: char| c.is_ascii_digit()))
        .any(|part| words.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_known_by_the_words_of_datasets() {
        for (name, split) in [
            ("train.jsonl", Some("train")),
            ("train-00000-of-00002.parquet", Some("train")),
            ("data/my_train1.csv", Some("train")),
            ("dev/0.jsonl.gz", Some("validation")),
            ("gsm8k_test.jsonl", Some("test")),
            ("constraint.jsonl", None),
            ("testament.jsonl", None),
        ] {
            assert_eq!(split_of(Path::new(name)), split, "{name}");
        }
    }
}
