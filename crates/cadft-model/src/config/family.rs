//! The families: which options of the decoder each sets, and what its `config.json` means where it is silent.
//!
//! The defaults are those of the configuration classes of transformers.

use super::object::Object;

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
    /// `tie_word_embeddings` where absent.
    pub(super) tied: bool,
    /// Biases of the attention projections.
    pub(super) attention_bias: AttentionBias,
    /// Whether `mlp_bias` is an option.
    pub(super) mlp_bias: bool,
    /// Whether queries and keys are normalised by head.
    pub(super) qk_norm: bool,
    /// Which blocks see a sliding window.
    pub(super) windows: Windows,
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
}

/// Which blocks see a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// None.
    Never,
    /// All, where `sliding_window` is not null.
    All,
    /// With `use_sliding_window`, those from `max_window_layers` on.
    AfterMaxWindowLayers,
    /// With `use_sliding_window`, those without rotary embeddings.
    WithoutPositions,
    /// All but every `sliding_window_pattern`-th.
    Pattern,
}

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    ungrouped_by_default: true,
    head_dim: None,
    max_position_embeddings: 2048,
    rope_theta: 1e4,
    tied: false,
    attention_bias: AttentionBias::Key,
    mlp_bias: true,
    qk_norm: false,
    windows: Windows::Never,
};

const FAMILIES: [Family; 6] = [
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
        qk_norm: true,
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
        qk_norm: true,
        windows: Windows::Pattern,
        ..LLAMA
    },
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
        let multimodal = object.get("model_type").is_some_and(|name| name == "gemma3");
        let names: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
        object.expect_text("model_type", &names, None);
        if multimodal {
            object.problem(
                "this is a Gemma 3 with images; save its language model alone, as `gemma3_text` \
                 (`Gemma3ForCausalLM` in transformers)"
                    .to_owned(),
            );
        }
        &FAMILIES[0]
    }

    /// Whether this is Gemma 3, with its norms, embedding scale and query scale.
    pub(super) fn is_gemma(&self) -> bool {
        self.windows == Windows::Pattern
    }
}
