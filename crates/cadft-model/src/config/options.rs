//! Decoder options in which the families differ.

/// Which norms a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// One before attention and one before the feed-forward block; the factor is the weight.
    Before,
    /// Qwen3.5: the same; the factor is 1 + the weight.
    BeforeFromOne,
    /// `OLMo` 2 and 3: one after attention and one after the feed-forward block.
    After,
    /// GLM-4: one before and one after each.
    Around,
    /// Gemma: one before and one after each; the factor is 1 + the weight.
    Gemma,
    /// Gemma 4: the same; the factor is the weight.
    Gemma4,
}

impl Norms {
    /// The names of a block's norms in the checkpoint, in module order.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Before | Self::BeforeFromOne => &["input_layernorm", "post_attention_layernorm"],
            Self::After => &["post_attention_layernorm", "post_feedforward_layernorm"],
            Self::Around => &[
                "input_layernorm",
                "post_self_attn_layernorm",
                "post_attention_layernorm",
                "post_mlp_layernorm",
            ],
            Self::Gemma | Self::Gemma4 => &[
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
        }
    }

    /// What is added to the weight of a norm to make its factor.
    #[must_use]
    pub fn offset(self) -> f64 {
        match self {
            Self::BeforeFromOne | Self::Gemma => 1.0,
            Self::Before | Self::After | Self::Around | Self::Gemma4 => 0.0,
        }
    }

    /// Number of norms in a block.
    #[must_use]
    pub fn count(self) -> usize {
        self.names().len()
    }
}

/// Which norms queries and keys have, before rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// No norms.
    Absent,
    /// One norm for each head.
    Heads,
    /// One norm over all heads together.
    Whole,
}

impl QueryKeyNorm {
    /// Number of weights of the norm, for heads of `head_dim` with total width `width`; `None` without a norm.
    pub(crate) fn size(self, head_dim: usize, width: usize) -> Option<usize> {
        match self {
            Self::Absent => None,
            Self::Heads => Some(head_dim),
            Self::Whole => Some(width),
        }
    }
}

/// Which dimensions of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryPairs {
    /// Dimensions `i` and `i + rotary_dims / 2`.
    Halves,
    /// Dimensions `2 i` and `2 i + 1`.
    Neighbours,
}

/// Which projections with the same input are fused into one matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fused {
    /// No projections.
    Nothing,
    /// Gate and up.
    GateUp,
    /// Gate and up; and query, key and value.
    All,
    /// Granite 4: gate and up, in a feed-forward block with other names.
    SharedMlp,
}

impl Fused {
    /// Whether gate and up are one matrix.
    #[must_use]
    pub fn gate_up(self) -> bool {
        self != Self::Nothing
    }

    /// Whether the feed-forward block has the names of Granite 4.
    #[must_use]
    pub fn is_shared_mlp(self) -> bool {
        self == Self::SharedMlp
    }

    /// Whether query, key and value are one matrix.
    #[must_use]
    pub fn qkv(self) -> bool {
        self == Self::All
    }
}

/// Factor of queries at position `t`: `1 + beta · ln(1 + ⌊t / original⌋)` (Ministral 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// Strength of the growth.
    pub beta: f64,
    /// The context length of the pretraining.
    pub original_max_position_embeddings: f64,
}

impl Temperature {
    /// The factor at a position.
    pub(crate) fn at(&self, position: usize) -> f64 {
        let turns = (position as f64 / self.original_max_position_embeddings).floor();
        1.0 + self.beta * turns.ln_1p()
    }
}
