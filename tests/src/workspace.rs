//! A writable copy of the black-box fixture: model, data and recipes.

use crate::command::{Outcome, run};
use crate::fixture;
use std::fs;
use std::path::{Path, PathBuf};

/// A writable copy of the black-box fixture.
#[derive(Debug)]
pub struct Workspace(tempfile::TempDir);

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl Workspace {
    /// A fresh copy.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("model")).expect("a directory");
        for folder in ["", "model"] {
            for entry in fs::read_dir(fixture("blackbox").join(folder)).expect("the fixture") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    let name = path.file_name().expect("a name");
                    fs::copy(&path, directory.path().join(folder).join(name)).expect("a copy");
                }
            }
        }
        Self(directory)
    }

    /// The path of the workspace.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// Trains `recipe.toml` with these settings into `run`. Returns that path.
    ///
    /// # Panics
    /// If training fails.
    #[must_use]
    pub fn trained(&self, binary: &str, settings: &[&str]) -> PathBuf {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<&str> = ["train", "--recipe", "recipe.toml", "--out", "run"]
            .into_iter()
            .chain(set)
            .collect();
        let _ = self.run(binary, &args).succeeded();
        self.path("run")
    }

    /// Runs `binary` here.
    #[must_use]
    pub fn run(&self, binary: &str, args: &[&str]) -> Outcome {
        run(binary, self.root(), args)
    }
}
