//! The families: which options of the decoder each sets, and what its `config.json` means where it is silent.
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
    /// `num_key_value_heads` where absent: as many as query heads, or an error.
    pub(super) ungrouped_by_default: bool,
    /// `head_dim` where absent; none for `hidden_size / num_attention_heads`.
    pub(super) head_dim: Option<usize>,
    /// `max_position_embeddings` where absent.
    pub(super) max_position_embeddings: usize,
    /// `rope_theta` where absent.
    pub(super) rope_theta: f64,
    /// `rms_norm_eps` where absent.
    pub(super) rms_norm_eps: f64,
    /// `tie_word_embeddings` where absent.
    pub(super) tied: bool,
    /// Biases of the attention projections.
    pub(super) attention_bias: AttentionBias,
    /// Whether `mlp_bias` is an option.
    pub(super) mlp_bias: bool,
    /// The norms of queries and keys.
    pub(super) qk_norm: QueryKeyNorm,
    /// The norms of a block.
    pub(super) norms: Norms,
    /// Which projections are one matrix.
    pub(super) fused: Fused,
    /// Which blocks see a sliding window.
    pub(super) windows: Windows,
    /// Where rotary parameters come from, and what else they hold.
    pub(super) rotary: Rotary,
    /// Whether soft-caps are on where they are absent.
    pub(super) soft_caps: bool,
    /// Whether the multipliers of embeddings, attention, residuals and logits are options.
    pub(super) multipliers: bool,
}

/// Where the attention projections get their biases from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttentionBias {
    /// There are none.
    Never,
    /// All four where `attention_bias` is set.
    Key,
    /// Queries, keys and values always, the output never.
    QueryKeyValue,
    /// Queries, keys and values unless `attention_bias` is off, the output never.
    KeyWithoutOutput,
}

/// Where rotary parameters come from, and what else they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotary {
    /// One set, for whole heads.
    Whole,
    /// One set, for the share of a head that `partial_rotary_factor` says, or all of it; scaling `longrope` only.
    Phi,
    /// One set, for the share of a head that `partial_rotary_factor` says, or half of it, with neighbours rotated together.
    Glm,
    /// One set, and the scaling of queries by their position.
    Ministral,
    /// One set of full layers, one of sliding ones, whose base is `rope_local_base_freq` where that is absent.
    Gemma3,
    /// One set of full layers, one of sliding ones.
    Olmo3,
}

/// Which blocks see a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// None.
    Never,
    /// All, where `sliding_window` is not null; it is absent as 4096 means.
    All,
    /// All, where `sliding_window` is there and not null.
    AllWhereGiven,
    /// With `use_sliding_window`, those from `max_window_layers` on.
    AfterMaxWindowLayers,
    /// With `use_sliding_window`, those without rotary embeddings.
    WithoutPositions,
    /// All but every `sliding_window_pattern`-th.
    Pattern,
    /// All but each layer whose number is a multiple of this.
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

const FAMILIES: [Family; 14] = [
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
    Family {
        model_type: "qwen3",
        architecture: "Qwen3ForCausalLM",
        ungrouped_by_default: false,
        head_dim: Some(128),
        max_position_embeddings: 32_768,
        mlp_bias: false,
        qk_norm: QueryKeyNorm::Heads,
        windows: Windows::AfterMaxWindowLayers,
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
    /// The family that the file names; Llama, and a problem, where it names none that is known.
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

    /// Whether this is Gemma, with its norms, embedding scale and query scale.
    pub(super) fn is_gemma(&self) -> bool {
        self.norms == Norms::Gemma
    }

    /// Which dimensions of a head are rotated together.
    pub(super) fn rotary_pairs(&self) -> RotaryPairs {
        if self.rotary == Rotary::Glm {
            RotaryPairs::Neighbours
        } else {
            RotaryPairs::Halves
        }
    }

    /// Whether this is Granite 4, which may have experts and layers that are not attention.
    pub(super) fn is_hybrid(&self) -> bool {
        self.fused == Fused::SharedMlp
    }

    /// Whether sliding layers have rotary parameters of their own.
    pub(super) fn has_local_rotary(&self) -> bool {
        matches!(self.rotary, Rotary::Gemma3 | Rotary::Olmo3)
    }
}
