//! How rows become tokens.

use super::DeviceArgs;
use crate::hint::UsageError;
use crate::recipe::Source;
use anyhow::Result;
use cadft_data::{Preset, Tokenizer, Truncation};
use cadft_train::data::SampleReader;
use cadft_train::{Recipe, config};
use clap::{Args, ValueEnum};

/// How rows become tokens, and tokens scores.
#[derive(Debug, Default, Args)]
pub(crate) struct ScoringArgs {
    /// Samples of one forward pass [default: 8, or `batch.micro` of `--recipe`].
    #[arg(long, value_name = "N", value_parser = super::positive)]
    pub(crate) micro: Option<usize>,
    #[command(flatten)]
    pub(crate) tokens: TokensArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

impl ScoringArgs {
    /// Everything as a recipe says; without one, the defaults.
    pub(crate) fn of_recipe(recipe: Option<String>) -> Self {
        let mut args = Self::default();
        args.tokens.recipe = recipe;
        args
    }
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "How rows become tokens")]
pub(crate) struct TokensArgs {
    /// Make tokens as this recipe or run does: chat template, mask, lengths and number format. Options below win over it.
    /// `--like` is the older name.
    #[arg(long, alias = "like", value_name = "FILE|NAME")]
    pub(crate) recipe: Option<String>,
    /// Which tokens are trained [default: assistant].
    #[arg(long, value_enum)]
    pub(crate) mask: Option<MaskName>,
    /// Longest sample in tokens [default: the most that the model takes].
    #[arg(long, value_name = "N", value_parser = super::positive)]
    pub(crate) max_length: Option<usize>,
    /// What happens to longer samples [default: right].
    #[arg(long, value_enum)]
    pub(crate) truncation: Option<TruncationName>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
}

/// `data.template` and `data.template-variables` of a recipe.
#[derive(Debug, Default, Args)]
pub(crate) struct TemplateArgs {
    /// A chat template that comes with cadft, in place of the model's own: chatml, llama3 or alpaca.
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<Preset>,
    /// A variable of the chat template, such as enable_thinking=false; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) template_variable: Vec<String>,
}

impl TemplateArgs {
    /// Sets the given options in `recipe`.
    fn set(&self, recipe: &mut Recipe) -> Result<()> {
        let data = &mut recipe.data;
        if self.template.is_some() {
            data.template = self.template;
        }
        for variable in &self.template_variable {
            config::set(&mut data.template_variables, variable).map_err(|_| {
                UsageError::new(
                    format!("`--template-variable {variable}`: a variable has the form KEY=VALUE"),
                    "for example `--template-variable enable_thinking=false`",
                )
            })?;
        }
        Ok(())
    }

    /// `tokenizer` with the given options, as a recipe with them would make it.
    pub(crate) fn tokenizer(&self, tokenizer: Tokenizer) -> Result<Tokenizer> {
        let mut recipe = Recipe::default();
        self.set(&mut recipe)?;
        Ok(SampleReader::new(&recipe, tokenizer)?.into_tokenizer())
    }

    /// Whether any option is given.
    pub(crate) fn is_given(&self) -> bool {
        self.template.is_some() || !self.template_variable.is_empty()
    }
}

/// `data.mask` of a recipe.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MaskName {
    /// Every assistant turn.
    Assistant,
    /// The last assistant turn.
    LastTurn,
    /// What follows the prompt.
    Completion,
    /// Every token.
    All,
}

/// `data.truncation` of a recipe.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TruncationName {
    /// They are left out.
    Drop,
    /// Their first tokens are kept.
    Right,
    /// The beginning of the prompt is cut.
    LeftPrompt,
}

impl From<TruncationName> for Truncation {
    fn from(name: TruncationName) -> Self {
        match name {
            TruncationName::Drop => Self::Drop,
            TruncationName::Right => Self::Right,
            TruncationName::LeftPrompt => Self::LeftPrompt,
        }
    }
}

impl TokensArgs {
    /// The recipe of `--recipe`, or the defaults, with the other options applied. `positions` is the longest sequence
    /// that the model can take.
    pub(crate) fn recipe(&self, positions: usize) -> Result<Recipe> {
        let mut recipe = match &self.recipe {
            Some(recipe) => Source::find(recipe)?.parse(&[])?,
            None => Recipe::default(),
        };
        let data = &mut recipe.data;
        if let Some(mask) = self.mask {
            data.mask = mask.into();
        }
        if self.recipe.is_none() {
            data.max_length = positions;
        }
        if let Some(length) = self.max_length {
            data.max_length = length;
        }
        data.max_length = data.max_length.min(positions);
        if let Some(truncation) = self.truncation {
            data.truncation = truncation.into();
        }
        self.template.set(&mut recipe)?;
        Ok(recipe)
    }
}
