//! Which type each tensor of a GGUF file gets, after llama.cpp's rules for dense models.

use super::quant::GgmlType;

/// How the matrices of a GGUF file are stored; vectors are F32.
///
/// A tensor whose rows are not a whole number of blocks gets the next larger type with smaller blocks, at last F16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufDtype {
    /// Half precision.
    F16,
    /// Blocks of 32 weights of 8 bits with a scale.
    Q8_0,
    /// Blocks of 32 weights of 4 bits with a scale.
    Q4_0,
    /// 4 bits, 6 for the output and for half of the values and of the down projections; the usual choice.
    Q4KM,
    /// 5 bits, with 6 where `Q4KM` has them.
    Q5KM,
    /// 6 bits.
    Q6K,
}

/// What the types of a model's tensors depend on.
pub(super) struct Model<'a> {
    /// As in `general.architecture`.
    pub(super) architecture: &'a str,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
    /// Whether the embeddings serve as the output: there is no `output.weight`.
    pub(super) is_tied: bool,
}

impl Model<'_> {
    /// Whether llama.cpp takes the model for one of 70B parameters, with few heads of values.
    fn is_70b(&self) -> bool {
        self.layers == 80
            && match self.architecture {
                "llama" => self.heads != self.key_value_heads,
                "qwen2" => true,
                _ => false,
            }
    }

    /// Whether a layer is among the first or last eighth or every third between.
    fn has_more_bits(&self, name: &str) -> bool {
        let layer = name
            .strip_prefix("blk.")
            .and_then(|rest| rest.split('.').next())
            .and_then(|number| number.parse::<usize>().ok());
        let eighth = self.layers / 8;
        layer.is_some_and(|layer| {
            layer < eighth || layer >= self.layers.saturating_mul(7) / 8 || (layer - eighth) % 3 == 2
        })
    }
}

impl GgufDtype {
    /// llama.cpp's number for files of this type.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
            Self::Q6K => 18,
        }
    }

    /// The type of a tensor. The shape has the slowest dimension first.
    pub(super) fn of(self, name: &str, shape: &[usize], model: &Model<'_>) -> GgmlType {
        if shape.len() < 2 || name.ends_with("_norm.weight") {
            return GgmlType::F32;
        }
        let rows = shape[..shape.len() - 1].iter().any(|&size| size > 1);
        let usual = self.usual();
        if !rows || !name.ends_with("weight") || usual == GgmlType::F16 {
            return GgmlType::F16;
        }
        let width = &shape[shape.len() - 1..];
        or_smaller_blocks(self.wanted(name, width, model), width)
    }

    /// The type of most matrices.
    fn usual(self) -> GgmlType {
        match self {
            Self::F16 => GgmlType::F16,
            Self::Q8_0 => GgmlType::Q8_0,
            Self::Q4_0 => GgmlType::Q4_0,
            Self::Q4KM => GgmlType::Q4K,
            Self::Q5KM => GgmlType::Q5K,
            Self::Q6K => GgmlType::Q6K,
        }
    }

    /// The type of a matrix if its rows fit it.
    fn wanted(self, name: &str, width: &[usize], model: &Model<'_>) -> GgmlType {
        let usual = self.usual();
        if name == "output.weight" || name == "token_embd.weight" && model.is_tied {
            let fits = usual.bytes(width).is_some();
            return match usual {
                GgmlType::Q8_0 => GgmlType::Q8_0,
                _ if fits => GgmlType::Q6K,
                _ => GgmlType::Q8_0,
            };
        }
        let mixed = matches!(self, Self::Q4KM | Self::Q5KM);
        let values = name.contains("attn_v.weight") || name.contains("attn_qkv.weight");
        if mixed && (values || name.contains("ffn_down")) && model.has_more_bits(name) {
            GgmlType::Q6K
        } else if values && usual == GgmlType::Q4K && model.is_70b() {
            GgmlType::Q5K
        } else {
            usual
        }
    }
}

/// A type whose blocks divide the rows.
fn or_smaller_blocks(wanted: GgmlType, width: &[usize]) -> GgmlType {
    let smaller = match wanted {
        GgmlType::Q4K => GgmlType::Q5_0,
        GgmlType::Q5K => GgmlType::Q5_1,
        GgmlType::Q6K => GgmlType::Q8_0,
        _ => GgmlType::F16,
    };
    [wanted, smaller]
        .into_iter()
        .find(|kind| kind.bytes(width).is_some())
        .unwrap_or(GgmlType::F16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(architecture: &str, layers: usize) -> Model<'_> {
        Model {
            architecture,
            layers,
            heads: 8,
            key_value_heads: 1,
            is_tied: true,
        }
    }

    #[track_caller]
    fn check(dtype: GgufDtype, model: &Model<'_>, expected: &[(&str, &[usize], GgmlType)]) {
        for &(name, shape, kind) in expected {
            assert_eq!(dtype.of(name, shape, model), kind, "{name}");
        }
    }

    /// The types of a Q4_K_M file of Gemma 3 270M that llama.cpp wrote.
    #[test]
    fn gemma_3_270m_has_the_types_of_llama_cpp() {
        check(
            GgufDtype::Q4KM,
            &model("gemma3", 18),
            &[
                ("token_embd.weight", &[262_144, 640], GgmlType::Q8_0),
                ("output_norm.weight", &[640], GgmlType::F32),
                ("blk.0.attn_q.weight", &[1024, 640], GgmlType::Q5_0),
                ("blk.0.attn_output.weight", &[640, 1024], GgmlType::Q4K),
                ("blk.1.attn_v.weight", &[256, 640], GgmlType::Q8_0),
                ("blk.1.ffn_down.weight", &[640, 2048], GgmlType::Q6K),
                ("blk.2.attn_v.weight", &[256, 640], GgmlType::Q5_0),
                ("blk.2.ffn_down.weight", &[640, 2048], GgmlType::Q4K),
                ("blk.4.ffn_down.weight", &[640, 2048], GgmlType::Q6K),
                ("blk.15.attn_v.weight", &[256, 640], GgmlType::Q8_0),
            ],
        );
    }

    #[test]
    fn the_output_has_six_bits() {
        let (tied, width): (_, &[usize]) = (model("qwen3", 28), &[1000, 1024]);
        let untied = Model {
            is_tied: false,
            ..model("qwen3", 28)
        };
        for (dtype, usual) in [
            (GgufDtype::Q4_0, GgmlType::Q4_0),
            (GgufDtype::Q4KM, GgmlType::Q4K),
            (GgufDtype::Q5KM, GgmlType::Q5K),
            (GgufDtype::Q6K, GgmlType::Q6K),
        ] {
            check(dtype, &tied, &[("token_embd.weight", width, GgmlType::Q6K)]);
            check(dtype, &untied, &[("token_embd.weight", width, usual)]);
            check(dtype, &untied, &[("output.weight", width, GgmlType::Q6K)]);
        }
        check(
            GgufDtype::Q8_0,
            &tied,
            &[("token_embd.weight", width, GgmlType::Q8_0)],
        );
        check(
            GgufDtype::F16,
            &tied,
            &[("token_embd.weight", width, GgmlType::F16)],
        );
        let narrow: &[usize] = &[1000, 288];
        check(
            GgufDtype::Q4_0,
            &tied,
            &[("token_embd.weight", narrow, GgmlType::Q8_0)],
        );
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_smaller_blocks() {
        for (dtype, kind) in [
            (GgufDtype::Q4KM, GgmlType::Q5_0),
            (GgufDtype::Q5KM, GgmlType::Q5_1),
            (GgufDtype::Q6K, GgmlType::Q8_0),
            (GgufDtype::Q4_0, GgmlType::Q4_0),
        ] {
            check(
                dtype,
                &model("llama", 30),
                &[
                    ("blk.4.attn_q.weight", &[576, 576], kind),
                    ("blk.4.attn_q.weight", &[576, 50], GgmlType::F16),
                    ("blk.4.attn_q.bias", &[576], GgmlType::F32),
                ],
            );
        }
    }

    #[test]
    fn values_of_70b_models_have_five_bits() {
        let values = |architecture, layer| {
            let name = format!("blk.{layer}.attn_v.weight");
            GgufDtype::Q4KM.of(&name, &[1024, 8192], &model(architecture, 80))
        };
        assert_eq!(values("llama", 10), GgmlType::Q5K);
        assert_eq!(values("qwen2", 10), GgmlType::Q5K);
        assert_eq!(values("qwen3", 10), GgmlType::Q4K);
        assert_eq!(values("llama", 0), GgmlType::Q6K);
    }
}
