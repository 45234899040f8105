//! The arguments of `cadft push`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// A run that is finished, a Hugging Face model directory, or a PEFT adapter.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    /// The model on the Hub, `OWNER/NAME`; it is created if it is not there.
    #[arg(value_name = "REPO")]
    pub(crate) repository: String,
    /// Create it private; refuse one that is public.
    #[arg(long)]
    pub(crate) private: bool,
    /// The branch to commit to; it is created if it is not there [default: main].
    #[arg(long, value_name = "BRANCH")]
    pub(crate) revision: Option<String>,
    /// The summary of the commit.
    #[arg(
        long,
        visible_alias = "commit-message",
        value_name = "TEXT",
        default_value = "Upload with cadft"
    )]
    pub(crate) message: String,
    /// The licence in the generated card, by its identifier on the Hub, such as apache-2.0.
    #[arg(long, visible_alias = "licence", value_name = "ID")]
    pub(crate) license: Option<String>,
    /// The model on the Hub that was trained, for a run whose recipe names a directory.
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) base_model: Option<String>,
    /// Say what would be sent, show the card, and stop. Asks the Hub nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
