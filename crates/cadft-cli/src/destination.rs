//! Checks output paths before anything is read or computed. Refused are paths that cannot be written, that would be
//! overwritten, or that are also an input.

use crate::args::InputArgs;
use crate::hint::UsageError;
use crate::model::sources;
use anyhow::{Context, Result};
use cadft_data::Source;
use cadft_files::{check_directory, entries, is_same, is_within, listed, shown};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Refuses an output directory that cannot be made, or that exists and is not empty.
pub(crate) fn new_directory(out: &Path) -> Result<()> {
    let found = entries(out);
    let message = match found {
        Ok(names) if names.is_empty() => {
            return check_directory(out).with_context(|| format!("`--out`: cannot write `{}`", shown(out)));
        }
        Ok(names) => format!("`--out`: `{}` is not empty: {}", shown(out), listed(&names)),
        Err(error) => format!("`--out`: `{}` cannot be a directory: {error}", shown(out)),
    };
    let hint = "choose a directory that is new or empty, or remove this one first";
    Err(UsageError::new(message, hint).into())
}

/// Refuses an output file that cannot be written, or that is one of `inputs` or inside one of them.
pub(crate) fn file<P: AsRef<Path>>(out: &Path, inputs: impl IntoIterator<Item = P>) -> Result<()> {
    file_of_option("--out", out, inputs)
}

/// As [`file`], for the file that another option names.
pub(crate) fn file_of_option<P: AsRef<Path>>(
    option: &str,
    out: &Path,
    inputs: impl IntoIterator<Item = P>,
) -> Result<()> {
    for input in inputs {
        let input = input.as_ref();
        if is_same(out, input) || is_within(out, input) {
            let message = format!("`{option}`: `{}` is read by this command", shown(out));
            return Err(UsageError::new(message, "choose another file").into());
        }
    }
    let Err(error) = cadft_files::check_target(out) else {
        return Ok(());
    };
    let message = format!("`{option}`: cannot write `{}`", shown(out));
    let hint = match error.kind() {
        ErrorKind::NotFound => "its directory must be there",
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidInput => {
            "give the path of a file"
        }
        _ => return Err(error).context(message),
    };
    Err(UsageError::new(format!("{message}: {error}"), hint).into())
}

/// Refuses two options that name one file, which need not be there.
pub(crate) fn not_one_file((option, path): (&str, &Path), (other, out): (&str, &Path)) -> Result<()> {
    let real = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        Some((path.parent()?.canonicalize().ok()?, path.file_name()?.to_owned()))
    };
    if real(path).is_none_or(|path| real(out) != Some(path)) {
        return Ok(());
    }
    let message = format!("`{option}`: `{}` is written by `{other}`", shown(path));
    Err(UsageError::new(message, "choose another file").into())
}

/// As [`file`], for a command that reads a model and data. Without `out`, the command prints.
pub(crate) fn file_of(out: Option<&Path>, input: &InputArgs) -> Result<()> {
    let Some(out) = out else { return Ok(()) };
    file(out, files_of(&sources(&input.data, &input.source)?))?;
    file(
        out,
        [Some(Path::new(&input.model)), input.adapter.as_deref()]
            .into_iter()
            .flatten(),
    )
}

/// The files of data sources. Sources that cannot be found are left out; they are reported when they are read.
pub(crate) fn files_of(sources: &[Source]) -> Vec<PathBuf> {
    let found = sources.iter().filter_map(|source| source.files().ok());
    found.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_read_is_not_written_under_any_of_its_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("model")).unwrap();
        for name in ["data.jsonl", "model/model.safetensors"] {
            fs::write(path(name), "1").unwrap();
        }
        fs::hard_link(path("data.jsonl"), path("hard.jsonl")).unwrap();
        let inputs = [path("data.jsonl"), path("model")];
        for out in [
            "data.jsonl",
            "hard.jsonl",
            "model/../data.jsonl",
            "model/model.safetensors",
        ] {
            let message = file(&path(out), &inputs).unwrap_err().to_string();
            assert!(message.contains("is read by this command"), "{message}");
        }
        for out in ["model", "data.jsonl/x", "absent/x"] {
            let error = file(&path(out), &inputs).unwrap_err();
            assert!(error.is::<UsageError>(), "{error:#}");
        }
        file(&path("new.jsonl"), &inputs).unwrap();
        assert!(!path("new.jsonl").exists());
    }

    #[test]
    fn a_directory_with_anything_in_it_is_refused_with_its_first_entries() {
        let directory = tempfile::tempdir().unwrap();
        new_directory(directory.path()).unwrap();
        new_directory(&directory.path().join("new")).unwrap();
        for number in 0..7 {
            fs::write(directory.path().join(format!("{number}\u{1b}")), "").unwrap();
        }
        let message = new_directory(directory.path()).unwrap_err().to_string();
        assert!(
            message.contains("`0\\u{1b}`") && message.contains("and 2 more"),
            "{message}"
        );
        let message = new_directory(&directory.path().join("0\u{1b}"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("cannot be a directory"), "{message}");
    }
}
