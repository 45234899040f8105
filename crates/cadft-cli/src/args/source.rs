//! How `--data` is read.

use cadft_data::Format;
use clap::{Args, ValueEnum};

#[derive(Debug, Default, Args)]
pub(crate) struct SourceArgs {
    /// The format of every row [default: by the keys of each row].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<FormatName>,
    /// Names of columns that are not the format's own, such as instruction=question,output=answer.
    #[arg(long, value_name = "KEY=COLUMN", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// The split of a directory, by the names of its files or its README.md.
    #[arg(long, value_name = "SPLIT")]
    pub(crate) split: Option<String>,
    /// The configuration of a data set, one of those that its README.md names.
    #[arg(long, value_name = "NAME")]
    pub(crate) config: Option<String>,
}

/// `format` of a source in a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// `messages` of `role` and `content`.
    Messages,
    /// ShareGPT: `conversations` of `from` and `value`.
    Conversations,
    /// `instruction`, `input` and `output`.
    Alpaca,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `text`.
    Text,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Messages => Self::Messages,
            FormatName::Conversations => Self::Conversations,
            FormatName::Alpaca => Self::Alpaca,
            FormatName::PromptCompletion => Self::PromptCompletion,
            FormatName::Text => Self::Text,
        }
    }
}
