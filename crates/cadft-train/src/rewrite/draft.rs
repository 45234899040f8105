//! Samples of a round for which a candidate is generated.

use super::target::Target;
use crate::evaluate::Extractor;
use cadft_data::{Example, Origin};
use cadft_model::{Finish, Generated};
use serde::{Deserialize, Serialize};

/// A sample for which a candidate is generated.
pub(super) struct Draft {
    /// Its place among the samples of the round.
    pub(super) place: usize,
    pub(super) example: Example,
    pub(super) target: Target,
    /// What the candidate is written after, where that is not the prompt of the sample.
    pub(super) hinted: Option<Vec<u32>>,
    /// The candidate and the seed of its round.
    pub(super) generated: Option<(Drafted, u64)>,
}

/// A candidate.
#[derive(Serialize, Deserialize)]
pub(super) struct Drafted {
    pub(super) token_ids: Vec<u32>,
    pub(super) stopped: bool,
}

impl From<Generated> for Drafted {
    fn from(generated: Generated) -> Self {
        Self {
            stopped: generated.finish == Finish::Stop,
            token_ids: generated.token_ids,
        }
    }
}

/// An answer after its prompt, nothing else trained.
pub(super) fn alone(prompt: &[u32], answer: &[u32]) -> Example {
    Example {
        id: String::new(),
        weight: 1.0,
        token_ids: [prompt, answer].concat(),
        loss_mask: [vec![false; prompt.len()], vec![true; answer.len()]].concat(),
        prompt_len: prompt.len(),
        answer: None,
        origin: Origin::default(),
    }
}

/// Whether a candidate reaches the final answer of the row, or that of its target where the row has none.
pub(super) fn same_answer(example: &Example, old: &str, new: &str) -> bool {
    let reference = example.answer.as_deref().unwrap_or(old);
    let extract = Extractor::Number.compile();
    extract.is_ok_and(|extract| extract.answer(new) == Some(extract.reference(reference)))
}

/// Tokens that were generated.
pub(super) fn tokens(drafts: &[Draft]) -> usize {
    let generated = drafts.iter().filter_map(|draft| draft.generated.as_ref());
    generated.map(|(generated, _)| generated.token_ids.len()).sum()
}
