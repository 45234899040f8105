//! What is compared: objectives × settings × data × seeds, and the run of each.

use crate::args::CompareArgs;
use crate::hint::UsageError;
use crate::recipe::Source;
use anyhow::Result;
use cadft_core::AnyObjective;
use cadft_train::Recipe;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What distinguishes the runs of one row of the table from those of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Cell {
    /// The objective, or the name of one with settings of its own.
    pub(super) objective: String,
    /// The name of the settings, where several are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<String>,
    /// The name of the training data, where several are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
}

impl Cell {
    /// The names, as a directory has them.
    pub(super) fn name(&self) -> String {
        let parts = [Some(&self.objective), self.settings.as_ref(), self.data.as_ref()];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        parts.join(".")
    }

    /// Whether the other one differs in the objective alone.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (&self.settings, &self.data) == (&other.settings, &other.data)
    }
}

/// One run of the comparison.
pub(super) struct Job {
    /// Which of the cells it is of.
    pub(super) cell: usize,
    pub(super) seed: u64,
    pub(super) directory: PathBuf,
    pub(super) recipe: Recipe,
}

/// Cells in the order of the table, and the runs of all of them.
pub(super) struct Matrix {
    pub(super) cells: Vec<Cell>,
    pub(super) jobs: Vec<Job>,
}

impl Matrix {
    /// As the arguments say; `out` is the directory of the runs.
    pub(super) fn new(args: &CompareArgs, source: &Source, out: &Path) -> Result<Self> {
        let settings = named("--settings", &args.settings)?;
        let data = named("--data", &args.data)?;
        let (mut cells, mut recipes) = (vec![], vec![]);
        for (settings, overrides) in or_none(settings) {
            let overrides = [args.set.clone(), overrides].concat();
            for (data, files) in or_none(data.clone()) {
                let mut recipe = source.read(&overrides)?;
                if !files.is_empty() {
                    recipe.data.train = files.iter().map(cadft_data::Source::new).collect();
                }
                for (objective, recipe) in objectives(args, source, &overrides, &recipe)? {
                    cells.push(Cell {
                        objective,
                        settings: settings.clone(),
                        data: data.clone(),
                    });
                    recipes.push(recipe);
                }
            }
        }
        let mut jobs = vec![];
        // Seed by seed, so that a comparison that is cut off has all cells.
        for offset in (0..).take(args.seeds) {
            for (cell, recipe) in recipes.iter().enumerate() {
                let seed = recipe.run.seed + offset;
                let directory = out.join(format!("{}-{seed}", cells[cell].name()));
                let mut recipe = recipe.clone();
                recipe.run.seed = seed;
                recipe.run.out = Some(directory.to_string_lossy().into_owned());
                jobs.push(Job {
                    cell,
                    seed,
                    directory,
                    recipe,
                });
            }
        }
        Ok(Self { cells, jobs })
    }
}

/// A list of what has a name, or once nothing.
fn or_none(named: Vec<(String, Vec<String>)>) -> Vec<(Option<String>, Vec<String>)> {
    if named.is_empty() {
        return vec![(None, vec![])];
    }
    named
        .into_iter()
        .map(|(name, values)| (Some(name), values))
        .collect()
}

/// Every objective with its name and its recipe.
fn objectives(
    args: &CompareArgs,
    source: &Source,
    overrides: &[String],
    recipe: &Recipe,
) -> Result<Vec<(String, Recipe)>> {
    let with = |objective: AnyObjective| Recipe {
        objective: objective.into(),
        ..recipe.clone()
    };
    let mut all: Vec<(String, Recipe)> = (super::objectives(&args.objectives, recipe)?.into_iter())
        .map(|objective| (objective.name().to_owned(), with(objective)))
        .collect();
    for (name, settings) in named("--objective", &args.objective)? {
        if all.iter().any(|(other, _)| *other == name) {
            return Err(twice(&name));
        }
        let settings = settings.iter().map(|setting| format!("objective.{setting}"));
        let own = source.read(&[overrides.to_vec(), settings.collect()].concat())?;
        let Some(objective) = own.objective.named() else {
            continue;
        };
        all.push((name, with(objective.clone())));
    }
    if all.is_empty() {
        return Err(UsageError::new(
            "no objective is named",
            "name some with `--objectives`, as in `--objectives nll,dft,cadft`",
        )
        .into());
    }
    Ok(all)
}

/// `NAME: VALUE; VALUE` each; a name may be that of nothing.
fn named(option: &str, values: &[String]) -> Result<Vec<(String, Vec<String>)>> {
    let mut all: Vec<(String, Vec<String>)> = vec![];
    for value in values {
        let parts = value.split_once(':').filter(|(name, _)| is_name(name.trim()));
        let (name, rest) = parts.ok_or_else(|| {
            UsageError::new(
                format!("`{option}`: `{value}` has no name"),
                format!("begin with one of letters, digits, `_` and `-`, as in `{option} 'small: …'`"),
            )
        })?;
        let name = name.trim().to_owned();
        if all.iter().any(|(other, _)| *other == name) {
            return Err(twice(&name));
        }
        let parts = rest.split(';').map(str::trim).filter(|part| !part.is_empty());
        all.push((name, parts.map(str::to_owned).collect()));
    }
    Ok(all)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn twice(name: &str) -> anyhow::Error {
    UsageError::new(format!("`{name}` is named twice"), "give each a name of its own").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_a_colon_and_values_are_apart() {
        let found = named(
            "--settings",
            &[
                "b8: batch.global=8; optimizer.lr=1e-4".to_owned(),
                "plain:".to_owned(),
            ],
        );
        let expected = [
            ("b8", vec!["batch.global=8", "optimizer.lr=1e-4"]),
            ("plain", vec![]),
        ];
        let found = found.unwrap();
        let found: Vec<(&str, Vec<&str>)> = (found.iter())
            .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(found, expected);
        for wrong in ["batch.global=8", ": x", "a/b: x"] {
            assert!(named("--settings", &[wrong.to_owned()]).is_err(), "{wrong}");
        }
        let twice = named("--data", &["a: x".to_owned(), "a: y".to_owned()]).unwrap_err();
        assert!(twice.to_string().contains("named twice"), "{twice}");
    }

    #[test]
    fn cells_are_beside_each_other_where_only_the_objective_differs() {
        let cell = |objective: &str, data: Option<&str>| Cell {
            objective: objective.to_owned(),
            settings: None,
            data: data.map(str::to_owned),
        };
        assert!(cell("nll", Some("a")).is_beside(&cell("dft", Some("a"))));
        assert!(!cell("nll", Some("a")).is_beside(&cell("nll", Some("b"))));
        assert_eq!(cell("nll", Some("a")).name(), "nll.a");
        assert_eq!(cell("nll", None).name(), "nll");
    }
}
