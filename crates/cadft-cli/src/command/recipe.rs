//! `cadft recipe`.

use crate::args::{RecipeListArgs, RecipeShowArgs};
use crate::output;
use crate::recipe::{EMBEDDED, Source, title};
use anyhow::Result;
use serde::Serialize;

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
