//! `[adapter]`: train a low-rank update beside frozen weights.

use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, TargetModules};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

const ALL_LINEAR: &str = "all-linear";

/// `[adapter]`; without it every weight of the model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AdapterSection {
    /// The kind of update.
    pub kind: Kind,
    /// Rank of the update. Ours: 16.
    pub rank: usize,
    /// Numerator of the scaling. Ours: 32, twice the rank.
    pub alpha: f64,
    /// Probability that an input element of the update is dropped in training. PEFT's: 0.
    pub dropout: f64,
    /// Scale by `alpha / √rank` instead of `alpha / rank` (rsLoRA, arXiv 2312.03732). PEFT's: false.
    pub rs: bool,
    /// Names of linear layers, or `"all-linear"`: every one in the blocks. The `QLoRA` paper's (arXiv 2305.14314):
    /// all-linear.
    pub target_modules: Targets,
    /// Modules that are trained whole and stored with the adapter, such as `embed_tokens` or `lm_head`.
    pub modules_to_save: Vec<String>,
}

impl Default for AdapterSection {
    fn default() -> Self {
        Self {
            kind: Kind::Lora,
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            rs: false,
            target_modules: Targets::AllLinear,
            modules_to_save: vec![],
        }
    }
}

/// The kind of update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `W + s B A` (arXiv 2106.09685).
    #[default]
    Lora,
    /// `W + s B A` with rows scaled to learned magnitudes (arXiv 2402.09353).
    Dora,
}

/// Which linear layers get an update: `"all-linear"` or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Targets {
    /// Every linear layer of the blocks.
    #[default]
    AllLinear,
    /// Those whose name, or its end after a dot, is in the list.
    Names(Vec<String>),
}

impl AdapterSection {
    /// The section as the model crate has it.
    #[must_use]
    pub fn config(&self) -> AdapterConfig {
        AdapterConfig {
            kind: match self.kind {
                Kind::Lora => AdapterKind::Lora,
                Kind::Dora => AdapterKind::Dora,
            },
            rank: self.rank,
            alpha: self.alpha,
            scaling: if self.rs {
                AdapterScaling::RootRank
            } else {
                AdapterScaling::Rank
            },
            dropout: self.dropout,
            target_modules: match &self.target_modules {
                Targets::AllLinear => TargetModules::AllLinear,
                Targets::Names(names) => TargetModules::Names(names.clone()),
            },
            modules_to_save: self.modules_to_save.clone(),
            ..AdapterConfig::default()
        }
    }
}

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str(ALL_LINEAR),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetsVisitor)
    }
}

impl JsonSchema for Targets {
    fn schema_name() -> Cow<'static, str> {
        "Targets".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                {"const": ALL_LINEAR},
                {"type": "array", "items": {"type": "string"}},
            ],
        })
    }
}

struct TargetsVisitor;

impl<'de> Visitor<'de> for TargetsVisitor {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`\"{ALL_LINEAR}\"` or a list of layer names")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Targets, E> {
        if text == ALL_LINEAR {
            Ok(Targets::AllLinear)
        } else {
            Err(E::custom(format!(
                "`{text}` is not `\"{ALL_LINEAR}\"`; a single layer is `[\"{text}\"]`"
            )))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Targets, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(names)).map(Targets::Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AdapterSection, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn targets_are_a_word_or_a_list() {
        assert_eq!(read("").unwrap(), AdapterSection::default());
        assert_eq!(
            read("target-modules = [\"q_proj\"]").unwrap().target_modules,
            Targets::Names(vec!["q_proj".to_owned()])
        );
        let error = read("target-modules = \"q_proj\"").unwrap_err().to_string();
        assert!(error.contains("`[\"q_proj\"]`"), "{error}");
    }

    #[test]
    fn a_section_reads_back_as_it_was_written() {
        for targets in [Targets::AllLinear, Targets::Names(vec!["o_proj".to_owned()])] {
            let section = AdapterSection {
                kind: Kind::Dora,
                target_modules: targets,
                modules_to_save: vec!["lm_head".to_owned()],
                ..AdapterSection::default()
            };
            assert_eq!(read(&toml::to_string(&section).unwrap()).unwrap(), section);
        }
    }
}
