//! The tokens of a sample that a rewrite replaces.

use cadft_data::{DataError, Example, SpecialTokens, Tokenizer};
use std::ops::Range;

/// The last trained answer of a sample, including its stop token.
///
/// In a conversation this is the last assistant turn. Everything before it is the prompt and does not change, including
/// earlier trained answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The range of its tokens in the sample.
    pub tokens: Range<usize>,
}

impl Target {
    /// The target of a sample; `None` if there is no prompt (plain text), or if the answer does not end with one of
    /// `stop_token_ids`, because the sample was cut.
    #[must_use]
    pub fn of(example: &Example, stop_token_ids: &[u32]) -> Option<Self> {
        let mask = &example.loss_mask;
        let last = mask.iter().rposition(|&trained| trained)?;
        let start = mask[..last]
            .iter()
            .rposition(|&trained| !trained)
            .map_or(0, |before| before + 1);
        let ends = stop_token_ids.contains(&example.token_ids[last]);
        // Plain text is trained from its second token on, so its prompt would be one token.
        (start > 1 && ends).then(|| Self {
            tokens: start..last + 1,
        })
    }

    /// The tokens a model continues from.
    #[must_use]
    pub fn prompt<'a>(&self, example: &'a Example) -> &'a [u32] {
        &example.token_ids[..self.tokens.start]
    }

    /// The sample with `token_ids` in place of the target; all of them are trained.
    #[must_use]
    pub fn replaced(&self, example: &Example, token_ids: &[u32]) -> Example {
        let mut rewritten = example.clone();
        rewritten
            .token_ids
            .splice(self.tokens.clone(), token_ids.iter().copied());
        rewritten
            .loss_mask
            .splice(self.tokens.clone(), vec![true; token_ids.len()]);
        rewritten
    }

    /// The text of the target or of its replacement, without the stop token.
    ///
    /// This is the text that the tokens add to the text of the prompt. At the beginning of a text, some tokenizers omit
    /// the space of a token that they keep inside a text.
    ///
    /// # Errors
    /// If the tokenizer does not know a token.
    pub fn text(prompt: &[u32], answer: &[u32], tokenizer: &Tokenizer) -> Result<String, DataError> {
        let decode = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Skip);
        let end = match answer.split_last() {
            Some((last, before)) if tokenizer.stop_token_ids().contains(last) => before,
            _ => answer,
        };
        let (before, whole) = (decode(prompt)?, decode(&[prompt, end].concat())?);
        match whole.strip_prefix(&before) {
            Some(text) => Ok(text.to_owned()),
            None => decode(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadft_data::Origin;

    const STOP: u32 = 9;

    fn example(token_ids: &[u32], trained: &[usize]) -> Example {
        Example {
            id: "a".to_owned(),
            weight: 1.0,
            token_ids: token_ids.to_vec(),
            loss_mask: (0..token_ids.len()).map(|t| trained.contains(&t)).collect(),
            prompt_len: trained.first().copied().unwrap_or(0),
            answer: None,
            origin: Origin::default(),
        }
    }

    #[test]
    fn the_last_answer_is_replaced_and_the_rest_stays() {
        // User 1 2, answer 3 9, user 4 5, answer 6 9, and a token that the template appends.
        let example = example(&[1, 2, 3, STOP, 4, 5, 6, STOP, 7], &[2, 3, 6, 7]);
        let target = Target::of(&example, &[STOP]).unwrap();
        assert_eq!(target.tokens, 6..8);
        assert_eq!(target.prompt(&example), [1, 2, 3, STOP, 4, 5]);
        let rewritten = target.replaced(&example, &[8, 8, STOP]);
        assert_eq!(rewritten.token_ids, [1, 2, 3, STOP, 4, 5, 8, 8, STOP, 7]);
        let trained: Vec<usize> = (0..10).filter(|&t| rewritten.loss_mask[t]).collect();
        assert_eq!(trained, [2, 3, 6, 7, 8]);
        assert_eq!(Target::of(&rewritten, &[STOP]).unwrap().tokens, 6..9);
    }

    #[test]
    fn replacing_back_restores_the_sample() {
        let example = example(&[1, 2, 3, 4, STOP, 7], &[2, 3, 4]);
        let target = Target::of(&example, &[STOP]).unwrap();
        let rewritten = target.replaced(&example, &[5, STOP]);
        let back = Target::of(&rewritten, &[STOP])
            .unwrap()
            .replaced(&rewritten, &[3, 4, STOP]);
        assert_eq!(back, example);
    }

    #[test]
    fn text_without_a_prompt_and_answers_without_an_end_have_no_target() {
        assert_eq!(Target::of(&example(&[1, 2, 3, STOP], &[1, 2, 3]), &[STOP]), None);
        assert_eq!(Target::of(&example(&[1, 2, 3, 4], &[2, 3]), &[STOP]), None);
        assert_eq!(Target::of(&example(&[1, 2, 3, 4], &[]), &[STOP]), None);
    }
}
