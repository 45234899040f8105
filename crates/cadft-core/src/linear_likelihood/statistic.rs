//! Statistics of the next-token distribution that an objective may request.

/// A statistic of the distribution `p = softmax(logits)` at a position; it carries no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// `H = −Σ_v p_v·log p_v`, in nats.
    Entropy,
    /// The entropy of the `k` most likely tokens, renormalised to sum to 1, in nats.
    TopEntropy {
        /// Number of tokens; a smaller vocabulary counts whole.
        k: usize,
    },
    /// `Σ_v p_v²`: the probability that two draws are the same token.
    Collision,
    /// The total probability of the `k` most likely tokens.
    TopMass {
        /// Number of tokens; a smaller vocabulary counts whole.
        k: usize,
    },
}
