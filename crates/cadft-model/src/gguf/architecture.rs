//! The supported architectures of llama.cpp: names of tensors, and how their stored values differ.

use super::rope;
use crate::config::{LayerAttention, ModelConfig, Positions, RopeScaling};

/// The tensor with one divisor per rotary frequency.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// Every fourth block of `SmolLM3` has no rotary embedding; llama.cpp hard-codes the interval.
pub(super) const NO_ROPE_INTERVAL: usize = 4;
/// The number of blocks of Gemma 3 27B, which alone scales its queries differently.
const LARGEST_GEMMA: usize = 62;

/// An architecture of llama.cpp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    /// Llama, and Mistral up to the length of its window.
    Llama,
    Qwen2,
    Qwen3,
    SmolLm3,
    Gemma3,
}

impl Architecture {
    pub(super) const ALL: [Self; 5] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::SmolLm3, Self::Gemma3];

    /// The value of `general.architecture`, which is also the prefix of the keys.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::SmolLm3 => "smollm3",
            Self::Gemma3 => "gemma3",
        }
    }

    /// The architecture with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// All names, for messages.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join("`, `")
    }

    /// The architecture for a model of this configuration.
    pub(super) fn of(config: &ModelConfig) -> Option<Self> {
        match config.model_type.as_str() {
            "llama" | "mistral" => Some(Self::Llama),
            "gemma3_text" => Some(Self::Gemma3),
            other => Self::named(other),
        }
    }

    /// `model_type` and `architectures` of the `config.json` for this architecture.
    pub(super) fn hugging_face(self) -> (&'static str, &'static str) {
        match self {
            Self::Llama => ("llama", "LlamaForCausalLM"),
            Self::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Self::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
            Self::SmolLm3 => ("smollm3", "SmolLM3ForCausalLM"),
            Self::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
        }
    }

    /// The size whose inverse square root scales the product of query and key.
    pub(super) fn query_scale_size(self, [hidden, heads, layers]: [usize; 3], head_dim: usize) -> usize {
        if self == Self::Gemma3 && layers == LARGEST_GEMMA {
            hidden / heads.max(1)
        } else {
            head_dim
        }
    }

    /// The settings of a model that a file of this architecture cannot express.
    pub(super) fn unsupported(self, config: &ModelConfig) -> Vec<String> {
        let mut problems = vec![];
        let mut refuse = |key: &str, value: String| {
            problems.push(format!(
                "`{key}` is `{value}`; the `{}` of llama.cpp has no place for it",
                self.name()
            ));
        };
        let scaling = &config.rope_scaling;
        // A rule that cannot be recovered from its divisors would be lost on import.
        let comes_back = !matches!(scaling, RopeScaling::Llama3 { .. }) || {
            let divisors = rope::divisors(scaling, config.rope_theta, config.head_dim / 2);
            rope::llama3_rule(&divisors, config.rope_theta).is_some()
        };
        if !self.takes(scaling) || !comes_back {
            refuse("rope_scaling", format!("{scaling:?}"));
        }
        if self != Self::Llama {
            for (key, value) in [
                ("attention_bias", config.attention_output_bias),
                ("mlp_bias", config.mlp_bias),
            ] {
                if value {
                    refuse(key, value.to_string());
                }
            }
        }
        let sizes = [
            config.hidden_size,
            config.num_attention_heads,
            config.num_hidden_layers,
        ];
        let size = self.query_scale_size(sizes, config.head_dim) as f64;
        if (config.attention_scale * size.sqrt() - 1.0).abs() > 1e-6 {
            refuse(
                "query_pre_attn_scalar",
                config.attention_scale.powi(-2).to_string(),
            );
        }
        for (key, cap) in [
            ("attn_logit_softcapping", config.attn_logit_softcapping),
            ("final_logit_softcapping", config.final_logit_softcapping),
        ] {
            if let Some(cap) = cap {
                refuse(key, cap.to_string());
            }
        }
        if self == Self::SmolLm3 && !config.layers.iter().enumerate().all(has_rope_by_interval) {
            let flags: Vec<_> = config.layers.iter().map(has_rope).map(u8::from).collect();
            refuse("no_rope_layers", format!("{flags:?}"));
        }
        if self == Self::Gemma3 && sliding_pattern(config).is_none() {
            let sliding: Vec<_> = config.layers.iter().map(is_sliding).map(u8::from).collect();
            refuse("layer_types", format!("{sliding:?}"));
        }
        problems
    }

    fn takes(self, scaling: &RopeScaling) -> bool {
        match *scaling {
            RopeScaling::Default | RopeScaling::Linear { .. } => true,
            RopeScaling::Llama3 { .. } => self == Self::Llama,
            // In Gemma 3, scaling would also change the sliding blocks.
            RopeScaling::Yarn { .. } if self == Self::Gemma3 => false,
            RopeScaling::Yarn {
                factor,
                attention_factor,
                truncate,
                ..
            } => truncate && (attention_factor - (0.1 * factor.max(1.0).ln() + 1.0)).abs() < 1e-6,
            RopeScaling::Dynamic { .. } | RopeScaling::LongRope { .. } | RopeScaling::Proportional { .. } => {
                false
            }
        }
    }

    /// The name of a Hugging Face weight in a GGUF file.
    pub(super) fn tensor_name(self, name: &str) -> String {
        const PARTS: [(&str, &str); 13] = [
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("model.layers", "blk"),
            ("input_layernorm", "attn_norm"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ];
        const PROJECTIONS: [(&str, &str); 3] = [
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
        ];
        let after_attention = if self == Self::Gemma3 {
            "post_attention_norm"
        } else {
            "ffn_norm"
        };
        PARTS
            .iter()
            .chain(&PROJECTIONS)
            .chain(&[("post_attention_layernorm", after_attention)])
            .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
    }

    /// Converts the values of a Hugging Face weight to those of a GGUF file.
    pub(super) fn exported(self, name: &str, values: Vec<f32>, config: &ModelConfig) -> Vec<f32> {
        let values = reorder_rows(
            self.rotated_heads(name, config),
            values,
            config,
            |row, head_dim| {
                let (pair, half) = (row / 2, row % 2);
                half * (head_dim / 2) + pair
            },
        );
        self.shift_norm(name, values, 1.0)
    }

    /// Converts the values of a GGUF tensor to those of a Hugging Face weight; the inverse of [`Self::exported`].
    pub(super) fn imported(self, name: &str, values: Vec<f32>, config: &ModelConfig) -> Vec<f32> {
        let values = reorder_rows(
            self.rotated_heads(name, config),
            values,
            config,
            |row, head_dim| {
                let (half, pair) = (row / (head_dim / 2), row % (head_dim / 2));
                2 * pair + half
            },
        );
        self.shift_norm(name, values, -1.0)
    }

    /// The number of heads of a weight whose rows are reordered: llama.cpp stores the two halves of a rotated pair next
    /// to each other, here they are half a head apart. `None` if both use the same order.
    fn rotated_heads(self, name: &str, config: &ModelConfig) -> Option<usize> {
        if !matches!(self, Self::Llama | Self::SmolLm3) {
            None
        } else if name.contains("self_attn.q_proj") {
            Some(config.num_attention_heads)
        } else if name.contains("self_attn.k_proj") {
            Some(config.num_key_value_heads)
        } else {
            None
        }
    }

    /// Gemma 3's norms have the factor 1 + weight, and GGUF files store this factor.
    fn shift_norm(self, name: &str, mut values: Vec<f32>, shift: f32) -> Vec<f32> {
        if self == Self::Gemma3 && name.ends_with("norm.weight") {
            values.iter_mut().for_each(|value| *value += shift);
        }
        values
    }
}

fn has_rope(layer: &LayerAttention) -> bool {
    layer.positions != Positions::None
}

fn has_rope_by_interval((index, layer): (usize, &LayerAttention)) -> bool {
    has_rope(layer) != (index + 1).is_multiple_of(NO_ROPE_INTERVAL)
}

fn is_sliding(layer: &LayerAttention) -> bool {
    layer.window.is_some()
}

/// The number `n` for which every `n`-th block has full attention and the others a window; 0 if all blocks have the
/// window; `None` if there is no such number.
pub(super) fn sliding_pattern(config: &ModelConfig) -> Option<usize> {
    let layers = &config.layers;
    (0..=layers.len()).find(|&pattern| {
        layers
            .iter()
            .enumerate()
            .all(|(index, layer)| is_sliding(layer) == is_sliding_by(pattern, index))
    })
}

/// Whether a block has a window, by llama.cpp's rule.
pub(super) fn is_sliding_by(pattern: usize, index: usize) -> bool {
    pattern == 0 || !(index + 1).is_multiple_of(pattern)
}

/// Builds row `row` of each head from the row `source(row, head_dim)`.
fn reorder_rows(
    heads: Option<usize>,
    values: Vec<f32>,
    config: &ModelConfig,
    source: impl Fn(usize, usize) -> usize,
) -> Vec<f32> {
    let Some(heads) = heads else { return values };
    let head_dim = config.head_dim;
    let width = values.len() / (heads * head_dim);
    let mut reordered = Vec::with_capacity(values.len());
    for head in 0..heads {
        for row in 0..head_dim {
            let start = (head * head_dim + source(row, head_dim)) * width;
            reordered.extend_from_slice(&values[start..start + width]);
        }
    }
    reordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model_type: &str) -> ModelConfig {
        ModelConfig::from_json(&format!(
            r#"{{"model_type": "{model_type}", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}}"#
        ))
        .unwrap()
    }

    /// The names are from llama.cpp's `llama-arch.cpp`.
    #[test]
    fn norms_around_attention_have_the_names_of_their_place() {
        let name = |architecture: Architecture, part: &str| {
            architecture.tensor_name(&format!("model.layers.3.{part}.weight"))
        };
        assert_eq!(
            name(Architecture::Llama, "post_attention_layernorm"),
            "blk.3.ffn_norm.weight"
        );
        for (part, expected) in [
            ("post_attention_layernorm", "blk.3.post_attention_norm.weight"),
            ("pre_feedforward_layernorm", "blk.3.ffn_norm.weight"),
            ("post_feedforward_layernorm", "blk.3.post_ffw_norm.weight"),
            ("self_attn.q_norm", "blk.3.attn_q_norm.weight"),
            ("self_attn.o_proj", "blk.3.attn_output.weight"),
        ] {
            assert_eq!(name(Architecture::Gemma3, part), expected);
        }
    }

    #[test]
    fn only_architectures_that_rotate_neighbours_reorder_rows() {
        let name = "model.layers.0.self_attn.q_proj.bias";
        let values: Vec<f32> = (0..8u8).map(f32::from).collect();
        let config = config("qwen2");
        for (architecture, expected) in [
            (Architecture::Llama, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]),
            (Architecture::SmolLm3, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]),
            (Architecture::Qwen2, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        ] {
            let written = architecture.exported(name, values.clone(), &config);
            assert_eq!(written, expected, "{architecture:?}");
            assert_eq!(architecture.imported(name, written, &config), values);
        }
    }

    #[test]
    fn norms_of_gemma_are_written_with_their_one() {
        let config = config("gemma3_text");
        let write = |architecture: Architecture, name: &str| architecture.exported(name, vec![0.5], &config);
        for norm in ["model.norm.weight", "model.layers.0.self_attn.k_norm.weight"] {
            assert_eq!(write(Architecture::Gemma3, norm), [1.5]);
            assert_eq!(write(Architecture::Qwen3, norm), [0.5]);
        }
        assert_eq!(write(Architecture::Gemma3, "model.embed_tokens.weight"), [0.5]);
    }
}
