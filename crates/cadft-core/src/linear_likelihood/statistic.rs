//! What else an objective may ask about the next-token distribution at a position.

/// One number about the distribution `p = softmax(logits)` at a position, without gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// `H = −Σ_v p_v·log p_v`, in nats.
    Entropy,
    /// The entropy of the `k` most likely tokens alone, their probabilities made to add up to 1, in nats.
    TopEntropy {
        /// How many; all of a smaller vocabulary.
        k: usize,
    },
    /// `Σ_v p_v²`, the probability that two draws agree.
    Collision,
    /// The probability of the `k` most likely tokens together.
    TopMass {
        /// How many; all of a smaller vocabulary.
        k: usize,
    },
}
