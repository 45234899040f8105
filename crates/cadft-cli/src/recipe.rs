//! Recipes, embedded or from a file.

use crate::hint::UsageError;
use cadft_train::run_files::CONFIG;
use cadft_train::{Recipe, TrainError, config};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The embedded recipes: name and text.
pub(crate) const EMBEDDED: &[(&str, &str)] = &[
    ("quickstart", include_str!("../recipes/quickstart.toml")),
    ("smollm2", include_str!("../recipes/smollm2.toml")),
    ("nll", include_str!("../recipes/nll.toml")),
    ("dft-paper", include_str!("../recipes/dft-paper.toml")),
    ("cadft-paper", include_str!("../recipes/cadft-paper.toml")),
    ("cadft-laptop", include_str!("../recipes/cadft-laptop.toml")),
    ("lora-8gb", include_str!("../recipes/lora-8gb.toml")),
];

/// The text of a recipe, with its name and place.
#[derive(Debug)]
pub(crate) struct Source {
    /// The name of an embedded recipe, or the stem of a file's name.
    pub(crate) name: String,
    /// The name of the text in error messages.
    place: String,
    /// The directory of the file; `None` for an embedded recipe.
    directory: Option<PathBuf>,
    /// The recipe as TOML.
    pub(crate) text: String,
}

impl Source {
    /// The recipe of this name, in this file, or of the run in this directory. Embedded names take precedence; `./NAME`
    /// is always a path.
    pub(crate) fn find(recipe: &str) -> Result<Self, anyhow::Error> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == recipe) {
            return Ok(Self {
                name: (*name).to_owned(),
                place: (*name).to_owned(),
                directory: None,
                text: (*text).to_owned(),
            });
        }
        let resolved = Path::new(recipe).join(CONFIG);
        let path = if resolved.is_file() {
            resolved.as_path()
        } else {
            Path::new(recipe)
        };
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self {
                name: Path::new(recipe)
                    .file_stem()
                    .map_or_else(|| recipe.to_owned(), |stem| stem.to_string_lossy().into_owned()),
                place: path.to_string_lossy().into_owned(),
                directory: path.parent().map(Path::to_owned),
                text,
            }),
            Err(error) => Err(unreadable(recipe, &error).into()),
        }
    }

    /// A recipe that was chosen for this run.
    pub(crate) fn chosen(name: String, text: String) -> Self {
        Self {
            name,
            place: "the recipe that was chosen".to_owned(),
            directory: None,
            text,
        }
    }

    /// As [`Source::parse`]. A relative path of a model or data that does not exist in the current directory, but does
    /// next to the recipe's file, is resolved there.
    pub(crate) fn read(&self, overrides: &[String]) -> Result<Recipe, TrainError> {
        let mut recipe = self.parse(overrides)?;
        if let Some(directory) = &self.directory {
            let exists = |path: &Path| path.exists();
            let model = &mut recipe.model.path;
            *model = beside(directory, model, exists);
            if let Some(model) = &mut recipe.reference.model {
                *model = beside(directory, model, exists);
            }
            for source in recipe.data.train.iter_mut().chain(&mut recipe.data.eval) {
                let names_files =
                    |path: &Path| cadft_data::Source::new(path.to_string_lossy()).files().is_ok();
                source.path = beside(directory, &source.path, names_files);
            }
        }
        Ok(recipe)
    }

    /// The recipe, with `KEY=VALUE` overrides.
    pub(crate) fn parse(&self, overrides: &[String]) -> Result<Recipe, TrainError> {
        config::parse(&self.place, &self.text, overrides)
    }
}

/// The path below `directory`, if something exists there and nothing at `path` itself; else `path`.
fn beside(directory: &Path, path: &str, is_there: impl Fn(&Path) -> bool) -> String {
    let below = directory.join(path);
    if !is_there(Path::new(path)) && is_there(&below) {
        below.to_string_lossy().into_owned()
    } else {
        path.to_owned()
    }
}

/// The first comment of a recipe.
pub(crate) fn title(text: &str) -> &str {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix('#').unwrap_or_default().trim()
}

fn unreadable(recipe: &str, error: &io::Error) -> UsageError {
    let names: Vec<_> = EMBEDDED.iter().map(|(name, _)| format!("`{name}`")).collect();
    let nearest = EMBEDDED
        .iter()
        .map(|(name, _)| (strsim::jaro_winkler(recipe, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.8);
    if error.kind() != io::ErrorKind::NotFound {
        return UsageError::new(
            format!("cannot read the recipe `{recipe}`: {error}"),
            "a recipe is a TOML file",
        );
    }
    let hint = match nearest {
        Some((_, name)) => format!("did you mean `{name}`? Embedded recipes are {}", names.join(", ")),
        None => format!("embedded recipes are {}", names.join(", ")),
    };
    UsageError::new(
        format!("`{recipe}` is neither a file nor an embedded recipe"),
        hint,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_recipe_parses_has_a_title_and_survives_resolving() {
        for (name, text) in EMBEDDED {
            let recipe = Source::find(name).unwrap().parse(&[]).unwrap();
            assert!(!title(text).is_empty(), "{name} has no title");
            let resolved = toml::to_string(&recipe).unwrap();
            assert_eq!(
                config::parse("resolved", &resolved, &[]).unwrap(),
                recipe,
                "{name}: {resolved}"
            );
        }
    }

    #[test]
    fn a_misspelt_name_gets_a_suggestion() {
        let error = Source::find("quickstrat").unwrap_err();
        let message = cadft_files::with_hints(error.downcast_ref::<UsageError>().unwrap());
        assert!(message.contains("did you mean `quickstart`"), "{message}");
    }
}
