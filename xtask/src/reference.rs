//! `cargo xtask reference`: the generated parts of pages. The `cadft` command writes those of the reference; the tables of the
//! study are computed from what it measured.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{shell, study};

/// The directory of the reference.
const PAGES: &str = "docs/src/reference";
/// The page of the study.
const STUDY: &str = "docs/src/reproduction.md";
/// Ends a generated part, which begins with `<!-- generated: NAME -->`.
const END: &str = "<!-- end of generated -->";
const BEGIN: &str = "<!-- generated: ";

/// Arguments of `cargo xtask reference`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if a page is not as it would be written.
    #[arg(long)]
    check: bool,
}

/// Writes the generated parts of every page, or checks them.
pub(crate) fn run(args: &Args) -> Result<()> {
    let text = shell::output(shell::cargo_in_workspace("run").args([
        "--quiet",
        "--release",
        "--package",
        "cadft",
        "--bin",
        "cadft",
        "--",
        "reference",
    ]))?;
    let mut blocks: BTreeMap<String, String> =
        serde_json::from_str(&text).context("`cadft reference` printed no JSON object of texts")?;
    let study::Shown { tables, pictures } = study::shown()?;
    blocks.extend(tables);
    let mut used = BTreeSet::new();
    let mut stale = Vec::new();
    for path in pages()? {
        let page =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let written =
            filled(&page, &blocks, &mut used).with_context(|| format!("in `{}`", path.display()))?;
        stale.extend(update(&path, &page, &written, args.check)?);
    }
    for (path, picture) in pictures {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        stale.extend(update(&path, &found, &picture, args.check)?);
    }
    let unused: Vec<_> = (blocks.keys().filter(|name| !used.contains(*name)))
        .map(|name| format!("`{BEGIN}{name} -->`"))
        .collect();
    if !unused.is_empty() {
        bail!(
            "neither a page in `{PAGES}` nor `{STUDY}` has {}",
            unused.join(", ")
        );
    }
    if args.check && !stale.is_empty() {
        bail!("not as `cargo xtask reference` writes it: {}", stale.join(", "));
    }
    eprintln!("reference: {} parts, {} files changed", blocks.len(), stale.len());
    Ok(())
}

/// Writes a file that is to have another text, unless it is only checked. Returns the path of such a file.
fn update(path: &Path, found: &str, wanted: &str, check: bool) -> Result<Option<String>> {
    if found == wanted {
        return Ok(None);
    }
    if !check {
        std::fs::write(path, wanted).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(Some(path.display().to_string()))
}

/// As `cargo xtask reference --check`.
pub(crate) fn check() -> Result<()> {
    run(&Args { check: true })
}

fn pages() -> Result<Vec<PathBuf>> {
    let folder = shell::workspace_root().join(PAGES);
    let mut pages = vec![shell::workspace_root().join(STUDY)];
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        pages.push(entry?.path());
    }
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    Ok(pages)
}

/// A page with its generated parts filled in. Adds their names to `used`.
fn filled(page: &str, blocks: &BTreeMap<String, String>, used: &mut BTreeSet<String>) -> Result<String> {
    let mut written = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").context("a mark without `-->`")?;
        let (_, after) = (after.split_once(END)).with_context(|| format!("`{name}` has no `{END}`"))?;
        let block = (blocks.get(name)).with_context(|| format!("`{name}` is not generated"))?;
        used.insert(name.to_owned());
        written += &format!("{before}{BEGIN}{name} -->\n{}\n\n{END}", block.trim_end());
        rest = after;
    }
    Ok(written + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(page: &str) -> Result<String> {
        let blocks = BTreeMap::from([("a".to_owned(), "new\n".to_owned())]);
        filled(page, &blocks, &mut BTreeSet::new())
    }

    #[test]
    fn a_generated_part_is_replaced_and_the_rest_is_kept() {
        let page = format!("before\n{BEGIN}a -->\nold\n{END}\nafter\n");
        let written = fill(&page).unwrap();
        assert_eq!(written, format!("before\n{BEGIN}a -->\nnew\n\n{END}\nafter\n"));
        assert_eq!(fill(&written).unwrap(), written);
    }

    #[test]
    fn marks_without_an_end_or_a_text_are_refused() {
        assert!(fill(&format!("{BEGIN}a -->\nold")).is_err());
        assert!(fill(&format!("{BEGIN}b -->\n{END}")).is_err());
    }
}
