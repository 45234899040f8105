//! The families: the decoder options of each, and the defaults of keys that are absent from its `config.json`.
//!
//! The defaults are those of the configuration classes of transformers.

use super::object::Object;
use super::options::{Fused, Norms, QueryKeyNorm, RotaryPairs};

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    /// `model_type` in `config.json`.
    pub(super) model_type: &'static str,
    /// `architectures` in `config.json`.
    pub(super) architecture: &'static str,
    /// Default of `num_key_value_heads`: the number of query heads if true; otherwise the key is required.
    pub(super) ungrouped_by_default: bool,
    /// Default of `head_dim`; `None` means `hidden_size / num_attention_heads`.
    pub(super) head_dim: Option<usize>,
    /// Default of `max_position_embeddings`.
    pub(super) max_position_embeddings: usize,
    /// Default of `rope_theta`.
    pub(super) rope_theta: f64,
    /// Default of `rms_norm_eps`.
    pub(super) rms_norm_eps: f64,
    /// Default of `tie_word_embeddings`.
    pub(super) tied: bool,
    /// Biases of the attention projections.
    pub(super) attention_bias: AttentionBias,
    /// Whether `mlp_bias` is supported.
    pub(super) mlp_bias: bool,
    /// The norms of queries and keys.
    pub(super) qk_norm: QueryKeyNorm,
    /// The norms of a block.
    pub(super) norms: Norms,
    /// Which projections are fused into one matrix.
    pub(super) fused: Fused,
    /// Which blocks have a sliding window.
    pub(super) windows: Windows,
    /// The source of the rotary parameters, and what else it contains.
    pub(super) rotary: Rotary,
    /// Whether absent soft-caps have the default value, rather than being off.
    pub(super) soft_caps: bool,
    /// Whether the multipliers of embeddings, attention, residuals and logits are supported.
    pub(super) multipliers: bool,
    /// Which feed-forward blocks have experts.
    pub(super) sparse: Sparse,
    /// Whether `clip_qkv` is supported.
    pub(super) clips: bool,
    /// Whether blocks may have linear attention, and full attention has a gate.
    pub(super) linear_attention: bool,
    /// Whether blocks have what Gemma 4 adds: inputs of their own, heads by the kind of attention, shared keys and values.
    pub(super) by_block: bool,
}

/// Which feed-forward blocks have experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sparse {
    /// No block.
    Never,
    /// All blocks; `intermediate_size` is the width of an expert.
    All,
    /// Every `decoder_sparse_step`-th block, without `mlp_only_layers`; `moe_intermediate_size` is the width of an
    /// expert.
    ByStep,
}

/// The source of the biases of the attention projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttentionBias {
    /// No biases.
    Never,
    /// All four projections, if `attention_bias` is set.
    Key,
    /// Always for queries, keys and values; never for the output.
    QueryKeyValue,
    /// For queries, keys and values unless `attention_bias` is off; never for the output.
    KeyWithoutOutput,
}

/// The source of the rotary parameters, and what else it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotary {
    /// One set, for whole heads.
    Whole,
    /// One set, for the fraction `partial_rotary_factor` of a head, by default 1; the only scaling is `longrope`.
    Phi,
    /// One set, for the fraction `partial_rotary_factor` of a head, by default ½; neighbouring dimensions are paired.
    Glm,
    /// One set, for the fraction `partial_rotary_factor` of a head, by default ¼. Its three axes have the same positions in
    /// text.
    Qwen35,
    /// One set, and the position-dependent scaling of queries.
    Ministral,
    /// One set for full layers, one for sliding layers. The default base of the second is `rope_local_base_freq`.
    Gemma3,
    /// One set for full layers, one for sliding layers.
    Olmo3,
    /// One set for full layers, in which the other dimensions of a partial rotation turn by 0; one for sliding layers.
    Gemma4,
}

/// Which blocks have a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// No block.
    Never,
    /// All blocks, unless `sliding_window` is null. Its default is 4096.
    All,
    /// All blocks, if `sliding_window` is present and not null.
    AllWhereGiven,
    /// All blocks, if `use_sliding_window` is set and `sliding_window` is not null. Its default is 4096.
    AllWhereSwitchedOn,
    /// If `use_sliding_window` is set: the blocks from `max_window_layers` on.
    AfterMaxWindowLayers,
    /// If `use_sliding_window` is set: the blocks without rotary embeddings.
    WithoutPositions,
    /// All blocks except every `sliding_window_pattern`-th.
    Pattern,
    /// All blocks except every n-th.
    AllButEvery(usize),
}

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    ungrouped_by_default: true,
    head_dim: None,
    max_position_embeddings: 2048,
    rope_theta: 1e4,
    rms_norm_eps: 1e-6,
    tied: false,
    attention_bias: AttentionBias::Key,
    mlp_bias: true,
    qk_norm: QueryKeyNorm::Absent,
    norms: Norms::Before,
    fused: Fused::Nothing,
    windows: Windows::Never,
    rotary: Rotary::Whole,
    soft_caps: false,
    multipliers: false,
    sparse: Sparse::Never,
    clips: false,
    linear_attention: false,
    by_block: false,
};

const QWEN3: Family = Family {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    ungrouped_by_default: false,
    head_dim: Some(128),
    max_position_embeddings: 32_768,
    mlp_bias: false,
    qk_norm: QueryKeyNorm::Heads,
    windows: Windows::AfterMaxWindowLayers,
    ..LLAMA
};

const OLMO2: Family = Family {
    model_type: "olmo2",
    architecture: "Olmo2ForCausalLM",
    rms_norm_eps: 1e-5,
    mlp_bias: false,
    qk_norm: QueryKeyNorm::Whole,
    norms: Norms::After,
    ..LLAMA
};

const MINISTRAL3: Family = Family {
    model_type: "ministral3",
    architecture: "Ministral3ForCausalLM",
    ungrouped_by_default: false,
    head_dim: Some(128),
    max_position_embeddings: 262_144,
    rms_norm_eps: 1e-5,
    attention_bias: AttentionBias::Never,
    mlp_bias: false,
    windows: Windows::AllWhereGiven,
    rotary: Rotary::Ministral,
    ..LLAMA
};

const FAMILIES: [Family; 18] = [
    LLAMA,
    Family {
        model_type: "mistral",
        architecture: "MistralForCausalLM",
        ungrouped_by_default: false,
        max_position_embeddings: 131_072,
        attention_bias: AttentionBias::Never,
        mlp_bias: false,
        windows: Windows::All,
        ..LLAMA
    },
    Family {
        model_type: "qwen2",
        architecture: "Qwen2ForCausalLM",
        ungrouped_by_default: false,
        max_position_embeddings: 32_768,
        attention_bias: AttentionBias::QueryKeyValue,
        mlp_bias: false,
        windows: Windows::AfterMaxWindowLayers,
        ..LLAMA
    },
    QWEN3,
    Family {
        model_type: "qwen3_5_text",
        architecture: "Qwen3_5ForCausalLM",
        head_dim: Some(256),
        attention_bias: AttentionBias::Key,
        norms: Norms::BeforeFromOne,
        windows: Windows::Never,
        rotary: Rotary::Qwen35,
        linear_attention: true,
        ..QWEN3
    },
    Family {
        model_type: "qwen3_moe",
        architecture: "Qwen3MoeForCausalLM",
        head_dim: None,
        windows: Windows::AllWhereSwitchedOn,
        sparse: Sparse::ByStep,
        ..QWEN3
    },
    Family {
        model_type: "olmoe",
        architecture: "OlmoeForCausalLM",
        max_position_embeddings: 4096,
        rms_norm_eps: 1e-5,
        mlp_bias: false,
        qk_norm: QueryKeyNorm::Whole,
        sparse: Sparse::All,
        clips: true,
        ..LLAMA
    },
    Family {
        model_type: "smollm3",
        architecture: "SmolLM3ForCausalLM",
        ungrouped_by_default: false,
        max_position_embeddings: 32_768,
        rope_theta: 2e6,
        tied: true,
        windows: Windows::WithoutPositions,
        ..LLAMA
    },
    Family {
        model_type: "gemma3_text",
        architecture: "Gemma3ForCausalLM",
        ungrouped_by_default: false,
        head_dim: Some(256),
        max_position_embeddings: 131_072,
        rope_theta: 1e6,
        tied: true,
        mlp_bias: false,
        qk_norm: QueryKeyNorm::Heads,
        norms: Norms::Gemma,
        windows: Windows::Pattern,
        rotary: Rotary::Gemma3,
        ..LLAMA
    },
    Family {
        model_type: "gemma2",
        architecture: "Gemma2ForCausalLM",
        ungrouped_by_default: false,
        head_dim: Some(256),
        max_position_embeddings: 8192,
        tied: true,
        mlp_bias: false,
        norms: Norms::Gemma,
        windows: Windows::AllButEvery(2),
        soft_caps: true,
        ..LLAMA
    },
    Family {
        model_type: "gemma4_text",
        architecture: "Gemma4ForCausalLM",
        ungrouped_by_default: false,
        head_dim: Some(256),
        max_position_embeddings: 131_072,
        tied: true,
        mlp_bias: false,
        qk_norm: QueryKeyNorm::Heads,
        norms: Norms::Gemma4,
        windows: Windows::AllButEvery(6),
        rotary: Rotary::Gemma4,
        by_block: true,
        ..LLAMA
    },
    OLMO2,
    Family {
        model_type: "olmo3",
        architecture: "Olmo3ForCausalLM",
        rope_theta: 5e5,
        windows: Windows::AllButEvery(4),
        rotary: Rotary::Olmo3,
        ..OLMO2
    },
    Family {
        model_type: "phi3",
        architecture: "Phi3ForCausalLM",
        max_position_embeddings: 4096,
        rms_norm_eps: 1e-5,
        attention_bias: AttentionBias::Never,
        mlp_bias: false,
        fused: Fused::All,
        windows: Windows::AllWhereGiven,
        rotary: Rotary::Phi,
        ..LLAMA
    },
    Family {
        model_type: "glm4",
        architecture: "Glm4ForCausalLM",
        ungrouped_by_default: false,
        head_dim: Some(128),
        max_position_embeddings: 131_072,
        rms_norm_eps: 1.5625e-7,
        attention_bias: AttentionBias::KeyWithoutOutput,
        mlp_bias: false,
        norms: Norms::Around,
        fused: Fused::GateUp,
        rotary: Rotary::Glm,
        ..LLAMA
    },
    Family {
        model_type: "granite",
        architecture: "GraniteForCausalLM",
        multipliers: true,
        ..LLAMA
    },
    Family {
        model_type: "granitemoehybrid",
        architecture: "GraniteMoeHybridForCausalLM",
        mlp_bias: false,
        fused: Fused::SharedMlp,
        multipliers: true,
        ..LLAMA
    },
    MINISTRAL3,
];

impl Family {
    /// The family that the file names. For an unknown name, a problem is recorded and Llama is returned.
    pub(super) fn of(object: &mut Object<'_>) -> &'static Self {
        let name = object
            .get("model_type")
            .map_or("", |value| value.as_str().unwrap_or(""));
        if let Some(family) = FAMILIES.iter().find(|family| family.model_type == name) {
            return family;
        }
        let multimodal = match name {
            "gemma3" => Some(
                "this is a Gemma 3 with images; save its language model alone, as `gemma3_text` \
                 (`Gemma3ForCausalLM` in transformers)",
            ),
            "mistral3" => Some(
                "this is a Mistral 3 with images; save its language model alone, as `ministral3` or `mistral` \
                 (`model.language_model` in transformers)",
            ),
            _ => None,
        };
        let names: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
        object.expect_text("model_type", &names, None);
        if let Some(problem) = multimodal {
            object.problem(problem.to_owned());
        }
        &FAMILIES[0]
    }

    /// Ministral 3.
    pub(super) fn ministral() -> &'static Self {
        &MINISTRAL3
    }

    /// Whether this is Gemma, which has special norms, embedding scale and query scale.
    pub(super) fn is_gemma(&self) -> bool {
        matches!(self.norms, Norms::Gemma | Norms::Gemma4)
    }

    /// Which dimensions of a head are rotated together.
    pub(super) fn rotary_pairs(&self) -> RotaryPairs {
        if self.rotary == Rotary::Glm {
            RotaryPairs::Neighbours
        } else {
            RotaryPairs::Halves
        }
    }

    /// Whether this is Granite 4, which may have experts and layers without attention.
    pub(super) fn is_hybrid(&self) -> bool {
        self.fused == Fused::SharedMlp
    }

    /// Whether sliding layers have separate rotary parameters.
    pub(super) fn has_local_rotary(&self) -> bool {
        matches!(self.rotary, Rotary::Gemma3 | Rotary::Olmo3 | Rotary::Gemma4)
    }
}
