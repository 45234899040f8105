//! Prompts that show the model a solution, for answers that it does not find by itself.
//!
//! "Mind the Gap" (arXiv 2509.15157) keeps what the model answers rightly by itself, lets it solve the rest again with guidance, and
//! else keeps the demonstration. Here a guided answer must be right and more likely than what it replaces *without* the hint.

use super::target::Target;
use crate::config::RewriteSection;
use crate::data::on_disk;
use crate::error::TrainError;
use crate::prepare::Prepared;
use cadft_data::{Example, Row, hinted_prompt_ids, prompt_ids, rows};
use std::collections::BTreeMap;

/// The place of the solution in [`RewriteSection::hint`].
pub(super) const SOLUTION: &str = "{solution}";

/// Where prompts with hints are made.
#[derive(Clone, Copy)]
pub struct Guide<'a>(&'a Prepared);

impl std::fmt::Debug for Guide<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guide")
    }
}

impl<'a> Guide<'a> {
    /// That of a run, if its recipe wants guided answers.
    pub(super) fn of(prepared: &'a Prepared, section: &RewriteSection) -> Option<Self> {
        section.guided.then_some(Self(prepared))
    }

    /// For each sample with its target the tokens of its prompt with a hint; nothing where the row has no user, or where its answer is
    /// not the one that is rewritten. Reads the rows again, up to the last of these.
    pub(super) fn prompts(
        self,
        section: &RewriteSection,
        samples: &[(&Example, &Target)],
    ) -> Result<Vec<Option<Vec<u32>>>, TrainError> {
        let Self(prepared) = self;
        let wanted: BTreeMap<usize, usize> = (samples.iter().enumerate())
            .map(|(place, (example, _))| (example.origin.row, place))
            .collect();
        let mut prompts = vec![None; samples.len()];
        let Some((&last, _)) = wanted.last_key_value() else {
            return Ok(prompts);
        };
        let sources = on_disk(&prepared.recipe.data.train)?;
        let mixing = prepared.recipe.mixing();
        for (number, row) in rows(&sources, &mixing)?.enumerate().take(last + 1) {
            let (Some(&place), Ok(row)) = (wanted.get(&number), row) else {
                continue;
            };
            let (example, target) = samples[place];
            prompts[place] = hinted(prepared, section, &row, target.prompt(example), example, target)?;
        }
        Ok(prompts)
    }
}

fn hinted(
    prepared: &Prepared,
    section: &RewriteSection,
    row: &Row,
    prompt: &[u32],
    example: &Example,
    target: &Target,
) -> Result<Option<Vec<u32>>, TrainError> {
    let tokenizer = &prepared.tokenizer;
    // An answer in the middle of a conversation has another prompt.
    if prompt_ids(row, tokenizer)? != prompt {
        return Ok(None);
    }
    let answer = &example.token_ids[target.tokens.clone()];
    let solution = Target::text(prompt, answer, tokenizer)?;
    let hint = section.hint.replace(SOLUTION, solution.trim());
    Ok(hinted_prompt_ids(row, tokenizer, &hint)?)
}
