//! The arguments of `cadft recipe`.

use super::RequiredRecipe;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// List the embedded recipes.
    List(RecipeListArgs),
    /// Print a recipe.
    Show(RecipeShowArgs),
    /// Print the JSON Schema of recipes: every key, its default, and where the default comes from.
    Schema,
    /// Compare two recipes by their resolved values, key by key.
    Diff(RecipeDiffArgs),
    /// Bring an older recipe to the present format, comments included.
    Migrate(RecipeMigrateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeListArgs {
    /// Print one JSON object a recipe.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeShowArgs {
    #[command(flatten)]
    pub(crate) recipe: RequiredRecipe,
    /// Change a value of the recipe; implies `--resolved`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Check it, and print every key with its value, defaults included.
    #[arg(long)]
    pub(crate) resolved: bool,
    /// Print it as one JSON object; implies `--resolved`.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeDiffArgs {
    /// A recipe file, the directory of a run, or the name of an embedded recipe.
    #[arg(value_name = "FILE|NAME")]
    pub(crate) left: String,
    /// The recipe to compare it with.
    #[arg(value_name = "FILE|NAME")]
    pub(crate) right: String,
    /// Print one JSON object a key that differs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeMigrateArgs {
    /// A recipe file.
    #[arg(value_name = "FILE")]
    pub(crate) recipe: PathBuf,
    /// Write the file instead of printing it.
    #[arg(long)]
    pub(crate) write: bool,
}
