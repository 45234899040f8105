//! Which files of a directory are read: the same as `load_dataset` of Hugging Face `datasets` reads. Files that it
//! would skip silently are refused.
//!
//! The patterns are those of `datasets.data_files`, in the same order. The first patterns that match any file decide
//! the splits.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

use super::card::{Configuration, configurations};
use super::content::{Content, content};
use super::walk::{Hidden, Walk, matches};
use super::{Source, error, io_error};
use crate::error::DataError;
use crate::shown::names;

/// The splits, and the words that indicate them.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Patterns with a word in the name of a directory; below, in the name of a file.
const IN_DIRECTORY: [&str; 4] = [
    "**/{}/**",
    "**/{}[-._ 0-9]*/**",
    "**/*[-._ 0-9]{}/**",
    "**/*[-._ 0-9]{}[-._ 0-9]*/**",
];
const IN_FILE: [&str; 2] = ["**/{}[-._ 0-9]*", "**/*[-._ 0-9]{}[-._ 0-9]*"];

/// The files of each split, as paths relative to the directory.
type Splits = Vec<(String, Vec<PathBuf>)>;

/// The files to read from the directory of the source.
pub(super) fn files(source: &Source) -> Result<Vec<PathBuf>, DataError> {
    let root = Path::new(&source.path);
    let cards = configurations(root).map_err(|message| error(source, &message, NAME_FILES))?;
    let chosen = configuration(source, &cards)?;
    let below = chosen
        .and_then(|chosen| chosen.directory.as_deref())
        .unwrap_or_default();
    if !is_inside(below) {
        let message = format!("`README.md`: `data_dir` `{below}` leads out of the directory");
        return Err(error(source, &message, NAME_FILES));
    }
    let base = root.join(below);
    let mut files = Walk::new(Hidden::Skipped)
        .files(&base)
        .map_err(|source| io_error(&base, source))?;
    files.retain(|file| content(file) != Content::Other);
    if files.is_empty() {
        return Err(no_data(source));
    }
    let explicit = chosen.and_then(|chosen| chosen.files.as_deref());
    let splits = match explicit {
        Some(patterns) => listed(source, patterns, &files, &base)?,
        None => by_name(source, &files)?,
    };
    let files = match &source.split {
        Some(split) => asked(source, split, splits)?,
        None => {
            let splits = only(source, &splits)?;
            if explicit.is_none() {
                refuse_others(source, &files, splits)?;
            }
            splits.to_vec()
        }
    };
    check(source, &files, cards.is_empty())?;
    Ok(files.iter().map(|file| base.join(file)).collect())
}

const NAME_FILES: &str = "name the files themselves, with a glob where they are many";

fn no_data(source: &Source) -> DataError {
    error(
        source,
        "the directory has no data files",
        "data files are .jsonl, .json, .csv, .tsv and .parquet, the first four also as .gz or .zst",
    )
}

/// The requested configuration, or the default one; `None` if the data set has no configurations.
fn configuration<'a>(
    source: &Source,
    cards: &'a [Configuration],
) -> Result<Option<&'a Configuration>, DataError> {
    let known = names(cards.iter().map(|card| &card.name));
    let defaults: Vec<_> = cards
        .iter()
        .filter(|card| cards.len() == 1 || card.is_default || card.name == "default")
        .collect();
    if defaults.len() > 1 {
        let several = names(defaults.iter().map(|card| &card.name));
        let message = format!("`README.md`: several configurations are the default one: {several}");
        return Err(error(source, &message, NAME_FILES));
    }
    if let Some(asked) = &source.config {
        let found = cards.iter().find(|card| card.name == *asked);
        let hint = if cards.is_empty() {
            "the `README.md` of the directory names no configurations; name its files".to_owned()
        } else {
            format!("its configurations are {known}")
        };
        let message = format!("there is no configuration `{asked}`");
        return found.map(Some).ok_or_else(|| error(source, &message, &hint));
    }
    if defaults.is_empty() && !cards.is_empty() {
        let message = format!("the data set has the configurations {known}");
        return Err(error(source, &message, "say which with `config`"));
    }
    Ok(defaults.first().copied())
}

/// The splits that the card lists.
fn listed(
    source: &Source,
    patterns: &[(String, Vec<String>)],
    files: &[PathBuf],
    base: &Path,
) -> Result<Splits, DataError> {
    let mut splits = Vec::new();
    for (split, patterns) in patterns {
        let mut found = Vec::new();
        for pattern in patterns {
            let wrong = |reason: &str| {
                let message = format!("`README.md`: `{pattern}` of the split `{split}` {reason}");
                error(source, &message, NAME_FILES)
            };
            let path = pattern.strip_prefix("./").unwrap_or(pattern);
            if path.contains("://") || !is_inside(path) {
                return Err(wrong("is not below the directory"));
            }
            if !path.contains(['*', '?', '[']) {
                if !base.join(path).is_file() {
                    return Err(wrong("is no file"));
                }
                found.push(PathBuf::from(path));
                continue;
            }
            let pattern = Pattern::new(path).map_err(|problem| wrong(&format!("is no glob: {problem}")))?;
            found.extend(matching(&pattern, files));
        }
        splits.push((split.clone(), unique(found)));
    }
    Ok(splits)
}

/// The splits according to the names of files and directories.
fn by_name(source: &Source, files: &[PathBuf]) -> Result<Splits, DataError> {
    let sharded = sharded(source, files)?;
    if !sharded.is_empty() {
        return Ok(sharded);
    }
    if let Some(splits) = by_words(files) {
        return Ok(splits);
    }
    let lower: Vec<_> = files
        .iter()
        .map(|file| PathBuf::from(file.to_string_lossy().to_lowercase()))
        .collect();
    if by_words(&lower).is_some() {
        let message = format!(
            "the words of splits in names are in lower case, and these have capitals: {}",
            shown(files)
        );
        return Err(error(source, &message, NAME_FILES));
    }
    Ok(vec![("train".to_owned(), files.to_vec())])
}

/// The splits whose words are in directory names, otherwise in file names.
fn by_words(files: &[PathBuf]) -> Option<Splits> {
    let split = |words: &[&str], patterns: &[&str]| {
        let patterns = words
            .iter()
            .flat_map(|word| patterns.iter().map(move |pattern| pattern.replace("{}", word)));
        let patterns = patterns.filter_map(|pattern| Pattern::new(&pattern).ok());
        unique(patterns.flat_map(|pattern| matching(&pattern, files)).collect())
    };
    [&IN_DIRECTORY[..], &IN_FILE[..]]
        .into_iter()
        .find_map(|patterns| {
            let splits = SPLITS.map(|(name, words)| (name.to_owned(), split(words, patterns)));
            let splits: Vec<_> = splits
                .into_iter()
                .filter(|(_, files)| !files.is_empty())
                .collect();
            Some(splits).filter(|splits| !splits.is_empty())
        })
}

/// The splits of files such as `data/train_sft-00000-of-00003.parquet`; these splits may have any name.
fn sharded(source: &Source, files: &[PathBuf]) -> Result<Splits, DataError> {
    let mut splits: Splits = Vec::new();
    for file in files {
        let Some(name) = file.strip_prefix("data").ok().and_then(Path::to_str) else {
            continue;
        };
        let Some(split) = shard(name).filter(|_| !name.contains('/')) else {
            continue;
        };
        let is_word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !split.split('.').all(is_word) {
            let message = format!("`data/{name}`: `{split}` is no name of a split");
            return Err(error(source, &message, NAME_FILES));
        }
        match splits.iter_mut().find(|(name, _)| name == split) {
            Some((_, files)) => files.push(file.clone()),
            None => splits.push((split.to_owned(), vec![file.clone()])),
        }
    }
    Ok(splits)
}

/// The part of a file name before `-00000-of-00003`; `None` if the name has no such part.
fn shard(name: &str) -> Option<&str> {
    let is_number = |text: Option<&str>| {
        text.is_some_and(|text| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (at, _) = name.rmatch_indices("-of-").find(|&(at, _)| {
        let (before, after) = (&name[..at], &name[at + 4..]);
        let number = before.len().checked_sub(5).and_then(|start| before.get(start..));
        let dash = before
            .len()
            .checked_sub(6)
            .and_then(|start| before.get(start..=start));
        is_number(number) && dash == Some("-") && is_number(after.get(..5)) && after[5..].contains('.')
    })?;
    Some(&name[..at - 6]).filter(|split| !split.is_empty())
}

fn matching<'a>(pattern: &Pattern, files: &'a [PathBuf]) -> impl Iterator<Item = PathBuf> + use<'a> {
    let pattern = pattern.clone();
    let files = files.iter();
    files.filter(move |file| matches(&pattern, file)).cloned()
}

fn unique(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    files
        .into_iter()
        .filter(|file| seen.insert(file.clone()))
        .collect()
}

/// The files of the requested split.
fn asked(source: &Source, asked: &str, splits: Splits) -> Result<Vec<PathBuf>, DataError> {
    let known = names(splits.iter().map(|(name, _)| name));
    let word = SPLITS.iter().find(|(_, words)| words.contains(&asked));
    let same = word.map_or(asked, |(split, _)| split);
    let found = splits.into_iter().find(|(name, _)| name == asked || name == same);
    found
        .map(|(_, files)| files)
        .filter(|files| !files.is_empty())
        .ok_or_else(|| {
            let message = format!("no file belongs to the split `{asked}`");
            error(source, &message, &format!("its splits are {known}"))
        })
}

/// The files of the only split.
fn only<'a>(source: &Source, splits: &'a Splits) -> Result<&'a [PathBuf], DataError> {
    match splits.as_slice() {
        [(_, files)] if !files.is_empty() => Ok(files),
        [] | [_] => Err(no_data(source)),
        several => Err(error(
            source,
            &format!(
                "the directory has the splits {}",
                names(several.iter().map(|(name, _)| name))
            ),
            &format!(
                "say which with `split`, or name the files, such as `{}`",
                cadft_files::shown(several[0].1.first().unwrap_or(&PathBuf::new()))
            ),
        )),
    }
}

/// Refuses files outside all splits, if other files belong to a split.
fn refuse_others(source: &Source, files: &[PathBuf], chosen: &[PathBuf]) -> Result<(), DataError> {
    let known: HashSet<_> = chosen.iter().collect();
    let others: Vec<_> = files.iter().filter(|file| !known.contains(file)).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(error(
        source,
        &format!(
            "the names of some files tell of a split and those of others do not: {}, but not {}",
            shown(chosen),
            shown(others)
        ),
        "say which split with `split`, or name the files with a glob",
    ))
}

/// Refuses files in unsupported formats, and files that do not form one data set.
fn check(source: &Source, files: &[PathBuf], may_be_several: bool) -> Result<(), DataError> {
    let (mut kinds, mut unread) = (Vec::new(), Vec::new());
    for file in files {
        match content(file) {
            Content::Rows(kind) if !kinds.contains(&kind) => kinds.push(kind),
            Content::Rows(_) => {}
            Content::Unread(hint) => unread.push((file, hint)),
            Content::Unclear | Content::Other => unread.push((file, NAME_FILES)),
        }
    }
    if let Some((_, hint)) = unread.first() {
        let message = format!(
            "these of its data files are not read: {}",
            shown(unread.iter().map(|(file, _)| file))
        );
        return Err(error(source, &message, hint));
    }
    if kinds.len() > 1 {
        let message = format!(
            "the directory has files of several kinds, {}: {}",
            kinds.join(" and "),
            shown(files)
        );
        return Err(error(
            source,
            &message,
            "name the files of one kind with a glob, or each kind as a source",
        ));
    }
    if may_be_several {
        refuse_several_sets(source, files)?;
    }
    Ok(())
}

/// Refuses shards with several names or directories: each name is a separate data set.
fn refuse_several_sets(source: &Source, files: &[PathBuf]) -> Result<(), DataError> {
    let set = |file: &PathBuf| {
        let name = file.file_name()?.to_string_lossy().into_owned();
        Some(file.with_file_name(shard(&name)?))
    };
    let mut sets: Vec<_> = files.iter().filter_map(set).collect();
    sets.sort();
    sets.dedup();
    if sets.len() < 2 {
        return Ok(());
    }
    let message = format!("the directory has several data sets: {}", shown(&sets));
    Err(error(
        source,
        &message,
        "name the directory or the files of one of them",
    ))
}

fn shown<'a>(files: impl IntoIterator<Item = &'a (impl AsRef<Path> + ?Sized + 'a)>) -> String {
    names(files.into_iter().map(|file| file.as_ref().display().to_string()))
}

/// Whether a relative path stays below its start.
fn is_inside(path: &str) -> bool {
    let mut components = Path::new(path).components();
    components.all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_of_a_shard_is_what_comes_before_its_numbers() {
        for (name, split) in [
            ("train-00000-of-00002.parquet", Some("train")),
            ("train_sft-00001-of-00002-abc.parquet", Some("train_sft")),
            ("a-00000-of-00001-00000-of-00001.jsonl", Some("a-00000-of-00001")),
            ("-00000-of-00001.parquet", None),
            ("train-0000-of-0001.parquet", None),
            ("train-00000-of-00001", None),
            ("of-of-of-.x", None),
        ] {
            assert_eq!(shard(name), split, "{name}");
        }
    }
}
