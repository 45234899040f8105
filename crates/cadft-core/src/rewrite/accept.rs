//! Whether a candidate replaces the original answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The requirements on a rewrite. The paper accepts every sampled answer; these rules are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Limit for the tokens of prompt and answer together.
    pub max_length: usize,
    /// Whether its score must be lower than that of the original.
    pub require_lower_score: bool,
    /// Whether it must reach the final answer of the original.
    pub same_answer: bool,
}

/// The properties of a generated answer that decide on its acceptance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Whether it ends with a stop token.
    pub stopped: bool,
    /// Whether nothing precedes the stop token.
    pub empty: bool,
    /// Tokens of prompt and candidate together, the stop token included.
    pub length: usize,
    /// `c` (CADFT-1) of the candidate under the model that generated it.
    pub score: f64,
    /// `c` of the original under the same model.
    pub original_score: f64,
    /// Whether both reach the same final answer.
    pub same_answer: bool,
}

/// Why a sample of a round keeps its original answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rejection {
    /// The sample was not drawn.
    NotDrawn,
    /// The sample cannot be rewritten: it has no prompt, or its answer has no end.
    NotRewritable,
    /// The prompt leaves no room for an answer.
    PromptTooLong,
    /// The candidate reached the limit of new tokens without a stop token.
    Unfinished,
    /// The candidate is empty.
    Empty,
    /// Prompt and candidate together exceed the maximum length of a sample.
    TooLong,
    /// The candidate is no more likely under the model than the original.
    NotLower,
    /// The candidate reaches another final answer.
    OtherAnswer,
}

impl Acceptance {
    /// Applies the rules to a candidate, in the order of [`Rejection`].
    ///
    /// # Errors
    /// The first rule that the candidate breaks.
    pub fn judge(&self, candidate: &Candidate) -> Result<(), Rejection> {
        // False for a NaN score.
        let is_lower = candidate.score < candidate.original_score;
        let breaks = [
            (!candidate.stopped, Rejection::Unfinished),
            (candidate.empty, Rejection::Empty),
            (candidate.length > self.max_length, Rejection::TooLong),
            (self.require_lower_score && !is_lower, Rejection::NotLower),
            (self.same_answer && !candidate.same_answer, Rejection::OtherAnswer),
        ];
        let first = breaks.into_iter().find(|(broken, _)| *broken);
        first.map_or(Ok(()), |(_, rejection)| Err(rejection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Acceptance = Acceptance {
        max_length: 10,
        require_lower_score: true,
        same_answer: true,
    };

    const GOOD: Candidate = Candidate {
        stopped: true,
        empty: false,
        length: 10,
        score: 0.5,
        original_score: 1.0,
        same_answer: true,
    };

    #[test]
    fn each_rule_rejects_for_its_own_reason() {
        assert_eq!(STRICT.judge(&GOOD), Ok(()));
        let cases = [
            (
                Candidate {
                    stopped: false,
                    ..GOOD
                },
                Rejection::Unfinished,
            ),
            (Candidate { empty: true, ..GOOD }, Rejection::Empty),
            (Candidate { length: 11, ..GOOD }, Rejection::TooLong),
            (Candidate { score: 1.0, ..GOOD }, Rejection::NotLower),
            (
                Candidate {
                    score: f64::NAN,
                    ..GOOD
                },
                Rejection::NotLower,
            ),
            (
                Candidate {
                    same_answer: false,
                    ..GOOD
                },
                Rejection::OtherAnswer,
            ),
        ];
        for (candidate, rejection) in cases {
            assert_eq!(STRICT.judge(&candidate), Err(rejection), "{candidate:?}");
        }
    }

    #[test]
    fn rules_of_choice_can_be_turned_off_and_the_others_stay() {
        let lenient = Acceptance {
            require_lower_score: false,
            same_answer: false,
            ..STRICT
        };
        let worse = Candidate {
            score: 9.0,
            same_answer: false,
            ..GOOD
        };
        assert_eq!(lenient.judge(&worse), Ok(()));
        let endless = Candidate {
            stopped: false,
            ..worse
        };
        assert_eq!(lenient.judge(&endless), Err(Rejection::Unfinished));
    }
}
