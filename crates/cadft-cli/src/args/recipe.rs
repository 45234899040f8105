//! The arguments of `cadft recipe`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// List the embedded recipes.
    List(RecipeListArgs),
    /// Print a recipe.
    Show(RecipeShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeListArgs {
    /// Print one JSON object a recipe.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeShowArgs {
    /// A recipe file, or the name of an embedded recipe.
    #[arg(value_name = "NAME|FILE")]
    pub(crate) recipe: String,
    /// Change a value of the recipe; implies `--resolved`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Check it, and print every key with its value, defaults included.
    #[arg(long)]
    pub(crate) resolved: bool,
}
