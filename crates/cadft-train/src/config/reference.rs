//! `[reference]`: the frozen model whose opinion of single tokens an objective looks at.

use super::Recipe;
use cadft_core::{Objective, TokenReference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The frozen model of `prift` and `rho`. What it says of each token of the training data is computed once, before the first step, and
/// kept for the next run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ReferenceSection {
    /// A Hugging Face directory, a run, or `hf://OWNER/NAME[@REVISION]`, with the tokenizer of the model. Ours: the model that the run
    /// begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the frozen model stays in memory and is run on the samples of each step instead. The values are the same, bit for bit;
    /// rewriting needs it, as it makes new samples. Ours: it does not.
    pub live: bool,
}

impl Recipe {
    /// What the objective of the run looks at of each token under a model that stays as it is.
    pub(crate) fn frozen(&self) -> Option<TokenReference> {
        let wanted = self.objective.token_reference()?;
        (!matches!(wanted, TokenReference::Renewed { .. })).then_some(wanted)
    }

    /// Whether a frozen model is kept beside the one that is trained.
    pub(crate) fn keeps_frozen(&self) -> bool {
        self.frozen().is_some() && self.reference.live
    }

    /// Whether the objective at the beginning of the run could do without a frozen model.
    pub(super) fn starts_alone(&self) -> bool {
        let start = self.loss.start.as_ref();
        start.and_then(Objective::token_reference).is_none()
    }
}
