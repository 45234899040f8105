//! `cadft recipe`.

use crate::args::{RecipeDiffArgs, RecipeListArgs, RecipeMigrateArgs, RecipeShowArgs};
use crate::console::note;
use crate::hint::UsageError;
use crate::output;
use crate::recipe::{EMBEDDED, Source, title};
use anyhow::{Context, Result};
use cadft_train::config;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::Path;

#[derive(Serialize)]
struct Listed {
    name: &'static str,
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
    output::table(&rows)
}

pub(crate) fn show(args: &RecipeShowArgs) -> Result<()> {
    let source = Source::find(&args.recipe)?;
    if !args.resolved && args.set.is_empty() {
        return output::text(&source.text);
    }
    output::text(&toml::to_string(&source.parse(&args.set)?)?)
}

pub(crate) fn schema() -> Result<()> {
    output::line(&serde_json::to_string_pretty(&config::schema())?)
}

pub(crate) fn diff(args: &RecipeDiffArgs) -> Result<()> {
    let read = |recipe: &str| anyhow::Ok(Source::find(recipe)?.parse(&[])?);
    let differences = config::difference(&read(&args.left)?, &read(&args.right)?);
    if args.json {
        return differences.iter().try_for_each(output::json_line);
    }
    if differences.is_empty() {
        note("the two recipes resolve to the same values");
        return Ok(());
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["", &args.left, &args.right]);
    for difference in differences {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        table.add_row([difference.key, shown(difference.left), shown(difference.right)]);
    }
    output::line(&table.trim_fmt())
}

pub(crate) fn migrate(args: &RecipeMigrateArgs) -> Result<()> {
    let path = &args.recipe;
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the recipe `{}`: {error}", path.display());
        UsageError::new(message, "give the path of a recipe file")
    })?;
    let migration = config::migrate(&path.to_string_lossy(), &text)?;
    for change in &migration.changes {
        note(change);
    }
    if !args.write {
        return output::text(&migration.text);
    }
    if migration.changes.is_empty() {
        note("nothing had to be changed");
        return Ok(());
    }
    replace(path, &migration.text).with_context(|| path.display().to_string())
}

/// Writes beside the file, then renames.
fn replace(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(fs::metadata(path)?.permissions())?;
    file.persist(path)?;
    Ok(())
}
