//! The module tree of a crate. Finds the file that defines the item of a path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Arrow;
use super::names::{Mention, Names};
use crate::tidy::Repository;

/// Longest chain of `use` declarations to follow: two that refer to each other do not compile.
const MOST_USES: usize = 32;

/// A module: its names, and its file.
#[derive(Debug)]
pub(super) struct Module {
    file: PathBuf,
    names: Names,
}

/// All modules of a crate, without those for tests, by path. The root has the empty path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    modules: BTreeMap<Vec<String>, Module>,
}

impl Tree {
    /// Reads the root and all files that a `mod` declares.
    pub(super) fn read(repository: &Repository, root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let directory = root.parent().unwrap_or(root);
        let mut waiting = vec![(Vec::new(), root.to_path_buf())];
        while let Some((module, file)) = waiting.pop() {
            let text = repository.texts.iter().find(|(path, _)| *path == file);
            let Some((_, text)) = text else {
                continue;
            };
            let parsed =
                syn::parse_file(text).with_context(|| format!("cannot parse `{}`", file.display()))?;
            for (inner, names) in Names::of(&parsed) {
                let path: Vec<String> = module.iter().cloned().chain(inner).collect();
                for child in &names.files {
                    let child: Vec<String> = path.iter().chain([child]).cloned().collect();
                    let file = directory
                        .join(child.iter().collect::<PathBuf>())
                        .with_extension("rs");
                    waiting.push((child, file));
                }
                tree.modules.insert(
                    path,
                    Module {
                        file: file.clone(),
                        names,
                    },
                );
            }
        }
        Ok(tree)
    }

    /// Every use of one file by another. A `pub use` does not count: it only re-exports a name.
    pub(super) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for (module, Module { file, names }) in &self.modules {
            for Mention { path, line } in &names.mentions {
                let found = self.defined_in(module, path, MOST_USES);
                arrows.extend(found.into_iter().filter(|to| to != file).map(|to| Arrow {
                    from: file.clone(),
                    to,
                    line: *line,
                    path: path.join("::"),
                }));
            }
        }
        arrows
    }

    /// The file that defines the item of `path` in `module`; `None` for items of other crates, local names, and modules
    /// themselves.
    fn defined_in(&self, module: &[String], path: &[String], uses: usize) -> Option<PathBuf> {
        let (home, names) = split(module, path)?;
        self.named(home, names, uses).or_else(|| {
            // Definitions by macros are not visible here, but a full path names their module.
            let (_, modules) = names.split_last().filter(|_| path.len() > names.len())?;
            let home: Vec<String> = home.iter().chain(modules).cloned().collect();
            (self.modules.get(&home))
                .filter(|_| !self.is_module(home.clone(), &names[modules.len()]))
                .map(|module| module.file.clone())
        })
    }

    fn is_module(&self, mut parent: Vec<String>, name: &str) -> bool {
        parent.push(name.to_owned());
        self.modules.contains_key(&parent)
    }

    fn named(&self, module: &[String], path: &[String], uses: usize) -> Option<PathBuf> {
        let uses = uses.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let Module { file, names } = self.modules.get(module)?;
        let child: Vec<String> = module.iter().chain([first]).cloned().collect();
        if self.modules.contains_key(&child) {
            return self.named(&child, rest, uses);
        }
        if names.defined.contains(first) {
            return Some(file.clone());
        }
        let through = |target: &[String], rest: &[String]| {
            let target: Vec<String> = target.iter().chain(rest).cloned().collect();
            let (home, names) = split(module, &target)?;
            self.named(home, names, uses)
        };
        match names.uses.get(first) {
            Some(target) => through(target, rest),
            None => names.globs.iter().find_map(|glob| through(glob, path)),
        }
    }
}

/// The module in which a path of `module` starts, and the remaining names.
fn split<'a>(module: &'a [String], path: &'a [String]) -> Option<(&'a [String], &'a [String])> {
    let above = path.iter().take_while(|name| *name == "super").count();
    match path.first()?.as_str() {
        "crate" => Some((&[], &path[1..])),
        "self" => Some((module, &path[1..])),
        _ => Some((&module[..module.len().checked_sub(above)?], &path[above..])),
    }
}
