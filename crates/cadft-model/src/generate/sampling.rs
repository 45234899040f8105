//! How tokens are chosen: the settings, and the distribution that they make from logits.

use crate::error::ModelError;
use crate::generate::ranking::Ranking;

/// How tokens are chosen; the default is greedy.
///
/// The logits are changed in the order of Hugging Face's `generate`: repetition penalty, temperature, then the cuts
/// top-k, top-p and min-p. The next token is drawn from the remaining tokens in proportion to their probability.
///
/// ```text
/// z'(i) = z(i) / r  where z(i) > 0, else z(i) · r      for every token i of prompt and text (r: repetition penalty)
/// p(i)  = exp(z'(i) / T) / Σ_j exp(z'(j) / T)
/// top-k: the k most probable;   top-p: the fewest most probable with Σ p ≥ top_p;   min-p: p(i) ≥ min_p · max p
/// ```
///
/// Deviation: among equally probable tokens the lowest ids come first, so that a cut always keeps the same tokens.
/// `transformers` keeps all tokens that tie with the k-th, and breaks ties of top-p in the order of its sort.
///
/// # References
/// Fan et al. 2018 (top-k, arXiv 1805.04833), Holtzman et al. 2019 (top-p, 1904.09751), Keskar et al. 2019 (repetition
/// penalty, 1909.05858), Nguyen et al. 2024 (min-p, 2407.01082).
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// The temperature T: above 1 flattens the distribution, below 1 sharpens it. At 0 the most probable token is
    /// always taken, and the lowest id wins a tie.
    pub temperature: f64,
    /// Keeps only the K most probable tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keeps only the most probable tokens that together reach this probability; 1 keeps all.
    pub top_p: f64,
    /// Keeps only tokens with at least this fraction of the largest probability; 0 keeps all.
    pub min_p: f64,
    /// Values above 1 make tokens of the prompt and the text less probable; 1 changes nothing.
    pub repetition_penalty: f64,
    /// The seed. Each sequence has a separate random stream derived from it.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Always the most probable token.
    #[must_use]
    pub fn greedy() -> Self {
        Self::default()
    }

    /// Nucleus sampling: temperature, then top-p.
    #[must_use]
    pub fn nucleus(temperature: f64, top_p: f64, seed: u64) -> Self {
        Self {
            temperature,
            top_p,
            seed,
            ..Self::default()
        }
    }

    /// Whether the most probable token is always taken.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// All invalid settings, in one report.
    pub fn check(&self) -> Result<(), ModelError> {
        let mut problems = vec![];
        let mut expect = |fine: bool, name: &str, value: f64, expected: &str| {
            if !fine {
                problems.push(format!("`{name}` is `{value}`; expected {expected}"));
            }
        };
        let is_positive = |x: f64| x.is_finite() && x > 0.0;
        expect(
            self.temperature == 0.0 || is_positive(self.temperature),
            "temperature",
            self.temperature,
            "a number above 0, or 0 to always take the most probable token",
        );
        expect(
            self.top_k != Some(0),
            "top_k",
            0.0,
            "at least 1; leave it out to keep all tokens",
        );
        expect(
            self.top_p > 0.0 && self.top_p <= 1.0,
            "top_p",
            self.top_p,
            "a number above 0 and up to 1",
        );
        expect(
            (0.0..=1.0).contains(&self.min_p),
            "min_p",
            self.min_p,
            "a number from 0 to 1",
        );
        expect(
            is_positive(self.repetition_penalty),
            "repetition_penalty",
            self.repetition_penalty,
            "a number above 0; 1 changes nothing",
        );
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ModelError::Generate {
                message: problems.join("\n"),
                hints: vec![],
            })
        }
    }

    /// The tokens that can be drawn after `seen` (prompt and text so far), most probable first, with their
    /// probabilities, which sum to 1.
    ///
    /// Tokens whose logit is −∞ cannot be drawn. No logit may be NaN or +∞.
    ///
    /// # Examples
    ///
    /// ```
    /// use cadft_model::Sampling;
    /// let logits = [0.25f32.ln(), 0.5f32.ln(), 0.25f32.ln()];
    /// let kept = |top_p| Sampling::nucleus(1.0, top_p, 0).distribution(&logits, &[]);
    /// assert_eq!(kept(0.4), [(1, 1.0)]);
    /// assert_eq!(kept(0.7).iter().map(|&(id, _)| id).collect::<Vec<_>>(), [1, 0]);
    /// assert_eq!(kept(1.0).len(), 3);
    /// ```
    #[must_use]
    pub fn distribution(&self, logits: &[f32], seen: &[u32]) -> Vec<(u32, f64)> {
        let mut logits = logits.to_vec();
        self.penalise(&mut logits, seen.iter().copied());
        let kept = if self.is_greedy() {
            Kept {
                tokens: Ranking::new(&logits, 1.0).get(0).into_iter().collect(),
                weights: vec![1.0],
            }
        } else {
            self.kept(&logits)
        };
        let mass = kept.mass();
        kept.tokens
            .iter()
            .zip(&kept.weights)
            .map(|(&token, weight)| (token, weight / mass))
            .collect()
    }

    /// Applies the repetition penalty to the logits of the tokens in `seen`, once to each.
    pub(super) fn penalise(&self, logits: &mut [f32], seen: impl IntoIterator<Item = u32>) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let mut is_done = vec![false; logits.len()];
        for token in seen {
            let index = token as usize;
            if !std::mem::replace(&mut is_done[index], true) {
                let (logit, penalty) = (f64::from(logits[index]), self.repetition_penalty);
                logits[index] = if logit > 0.0 {
                    logit / penalty
                } else {
                    logit * penalty
                } as f32;
            }
        }
    }

    /// Whether the settings may remove tokens.
    pub(super) fn cuts(&self) -> bool {
        self.top_k.is_some() || self.top_p < 1.0 || self.min_p > 0.0
    }

    /// `exp((z − max z) / T)`.
    pub(super) fn weight(&self, logit: f32, max: f32) -> f64 {
        ((f64::from(logit) - f64::from(max)) / self.temperature).exp()
    }

    /// The tokens that remain after all cuts. Each cut keeps a prefix of the ranking, so all together do.
    pub(super) fn kept(&self, logits: &[f32]) -> Kept {
        let mut ranking = Ranking::new(logits, self.temperature);
        let max = ranking.max();
        let limit = self.top_k.unwrap_or(usize::MAX);
        let needs_mass = self.top_p < 1.0;
        // Top-p applies to the mass that remains after top-k.
        let mass = match self.top_k {
            _ if !needs_mass => f64::INFINITY,
            None => logits.iter().map(|&logit| self.weight(logit, max)).sum(),
            Some(k) => (0..k)
                .map_while(|rank| ranking.get(rank))
                .map(|token| self.weight(logits[token as usize], max))
                .sum(),
        };
        let (mut kept, mut reached) = (Kept::default(), 0.0);
        while kept.tokens.len() < limit {
            let Some(token) = ranking.get(kept.tokens.len()) else {
                break;
            };
            let weight = self.weight(logits[token as usize], max);
            // The weight of the most probable token is 1.
            if weight < self.min_p {
                break;
            }
            kept.tokens.push(token);
            kept.weights.push(weight);
            reached += weight;
            if needs_mass && reached >= self.top_p * mass {
                break;
            }
        }
        kept
    }
}

/// The tokens that remain after the cuts, most probable first, with unnormalised probabilities.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) tokens: Vec<u32>,
    pub(super) weights: Vec<f64>,
}

impl Kept {
    pub(super) fn mass(&self) -> f64 {
        self.weights.iter().sum()
    }
}
