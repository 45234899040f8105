//! `cadft schema`.

use super::schemas::schemas;
use crate::args::SchemaArgs;
use crate::console::next;
use crate::hint::UsageError;
use crate::output;
use anyhow::Result;
use serde_json::{Map, Value};

pub(crate) fn run(args: &SchemaArgs) -> Result<()> {
    let all: Map<String, Value> = (schemas().into_iter())
        .map(|(name, mut schema)| {
            schema["title"] = format!("cadft {name}").into();
            (name.to_owned(), schema)
        })
        .collect();
    let dry_run = if args.dry_run { " --dry-run" } else { "" };
    let name = args.command.join(" ") + dry_run;
    if args.command.is_empty() {
        print(&Value::Object(all))?;
        next::schema(&name);
        return Ok(());
    }
    let Some(schema) = all.get(&name) else {
        let names: Vec<_> = all.keys().map(|name| format!("`{name}`")).collect();
        return Err(UsageError::new(
            format!("`{name}` prints no JSON"),
            format!("commands that do are {}", names.join(", ")),
        )
        .into());
    };
    print(schema)?;
    next::schema(&name);
    Ok(())
}

fn print(schema: &Value) -> Result<()> {
    output::json(&(serde_json::to_string_pretty(schema)? + "\n"))
}
