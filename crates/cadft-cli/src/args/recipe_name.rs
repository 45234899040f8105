//! The recipe of a command: as a bare argument or after `--recipe`.

use clap::Args;

/// A recipe that may be absent.
#[derive(Debug, Args)]
pub(crate) struct OptionalRecipe {
    /// A recipe file, the directory of a run, or the name of an embedded recipe (`cadft recipe list`). Without one:
    /// `quickstart`, or with `--resume` the recipe of the run.
    #[arg(value_name = "FILE|NAME")]
    bare: Option<String>,
    /// The same as an option.
    #[arg(long = "recipe", value_name = "FILE|NAME", conflicts_with = "bare")]
    flag: Option<String>,
}

impl OptionalRecipe {
    /// The recipe as given.
    pub(crate) fn name(&self) -> Option<&str> {
        self.bare.as_deref().or(self.flag.as_deref())
    }
}

/// A recipe that must be given.
#[derive(Debug, Args)]
pub(crate) struct RequiredRecipe {
    /// A recipe file, the directory of a run, or the name of an embedded recipe (`cadft recipe list`).
    #[arg(value_name = "FILE|NAME", required_unless_present = "flag")]
    bare: Option<String>,
    /// The same as an option.
    #[arg(long = "recipe", value_name = "FILE|NAME", conflicts_with = "bare")]
    flag: Option<String>,
}

impl RequiredRecipe {
    /// The recipe as given.
    pub(crate) fn name(&self) -> &str {
        let given = self.bare.as_deref().or(self.flag.as_deref());
        given.expect("clap requires one of the two")
    }
}
