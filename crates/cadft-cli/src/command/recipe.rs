//! `cadft recipe`.

use crate::args::{RecipeDiffArgs, RecipeListArgs, RecipeMigrateArgs, RecipeShowArgs};
use crate::console::{next, note};
use crate::hint::UsageError;
use crate::output;
use crate::recipe::{EMBEDDED, Source, title};
use anyhow::{Context, Result};
use cadft_files::{shown, visible_name};
use cadft_train::config;
use comfy_table::{ContentArrangement, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use std::fs;

/// An embedded recipe.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// Its name, for `cadft train NAME`.
    name: &'static str,
    /// What it is for.
    title: &'static str,
}

pub(crate) fn list(args: &RecipeListArgs) -> Result<()> {
    if args.json {
        return EMBEDDED.iter().try_for_each(|(name, text)| {
            let title = title(text);
            output::json_line(&Listed { name, title })
        });
    }
    let rows: Vec<_> = EMBEDDED
        .iter()
        .map(|(name, text)| (*name, title(text).to_owned()))
        .collect();
    output::table(&rows)?;
    next::recipes_listed();
    Ok(())
}

pub(crate) fn show(args: &RecipeShowArgs) -> Result<()> {
    let source = Source::find(args.recipe.name())?;
    if args.json {
        return output::json_line(&source.parse(&args.set)?);
    }
    if !args.resolved && args.set.is_empty() {
        output::exact(&source.text)?;
    } else {
        output::exact(&toml::to_string(&source.parse(&args.set)?)?)?;
    }
    next::recipe_shown(args.recipe.name());
    Ok(())
}

pub(crate) fn schema() -> Result<()> {
    output::json(&(serde_json::to_string_pretty(&config::schema())? + "\n"))?;
    next::recipe_schema();
    Ok(())
}

pub(crate) fn diff(args: &RecipeDiffArgs) -> Result<()> {
    let read = |recipe: &str| anyhow::Ok(Source::find(recipe)?.parse(&[])?);
    let differences = config::difference(&read(&args.left)?, &read(&args.right)?);
    if args.json {
        return differences.iter().try_for_each(output::json_line);
    }
    if differences.is_empty() {
        note("the two recipes resolve to the same values");
        next::recipes_diffed(&args.left, &args.right);
        return Ok(());
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["key", &args.left, &args.right]);
    for difference in differences {
        let cell =
            |value: Option<String>| value.map_or("–".to_owned(), |value| visible_name(&value).into_owned());
        table.add_row([difference.key, cell(difference.left), cell(difference.right)]);
    }
    output::grid(&table)?;
    next::recipes_diffed(&args.left, &args.right);
    Ok(())
}

pub(crate) fn migrate(args: &RecipeMigrateArgs) -> Result<()> {
    let path = &args.recipe;
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the recipe `{}`: {error}", cadft_files::shown(&path));
        UsageError::new(message, "give the path of a recipe file")
    })?;
    let migration = config::migrate(&path.to_string_lossy(), &text)?;
    for change in &migration.changes {
        note(change);
    }
    if !args.write {
        output::exact(&migration.text)?;
    } else if migration.changes.is_empty() {
        note("nothing had to be changed");
    } else {
        cadft_files::write(path, migration.text)
            .with_context(|| format!("cannot write `{}`", shown(path)))?;
    }
    next::recipe_migrated(path, args.write);
    Ok(())
}
