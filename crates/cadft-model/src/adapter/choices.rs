//! The choices of an adapter, as recipes write them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const ALL_LINEAR: &str = "all-linear";

/// The kind of update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterKind {
    /// `W + s B A` (arXiv 2106.09685).
    #[default]
    Lora,
    /// `W + s B A` with rows scaled to learned magnitudes (arXiv 2402.09353).
    Dora,
}

/// How the update is scaled. A recipe writes it like PEFT's `use_rslora`: `true` means by the root of the rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "bool", into = "bool")]
pub enum AdapterScaling {
    /// `α / rank`.
    #[default]
    Rank,
    /// `α / √rank` (rsLoRA, arXiv 2312.03732).
    RootRank,
}

impl From<bool> for AdapterScaling {
    fn from(is_by_root: bool) -> Self {
        if is_by_root { Self::RootRank } else { Self::Rank }
    }
}

impl From<AdapterScaling> for bool {
    fn from(scaling: AdapterScaling) -> Self {
        scaling == AdapterScaling::RootRank
    }
}

/// Which linear layers get an update: `"all-linear"` or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear layer of the blocks; not the output weight. In a model with experts, every one of attention.
    #[default]
    AllLinear,
    /// Layers whose name is in the list, or ends with a dot and a listed name.
    Names(Vec<String>),
}

impl Serialize for TargetModules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str(ALL_LINEAR),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrNames)
    }
}

impl JsonSchema for TargetModules {
    fn schema_name() -> Cow<'static, str> {
        "TargetModules".into()
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

struct WordOrNames;

impl<'de> Visitor<'de> for WordOrNames {
    type Value = TargetModules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`\"{ALL_LINEAR}\"` or a list of layer names")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TargetModules, E> {
        if text == ALL_LINEAR {
            Ok(TargetModules::AllLinear)
        } else {
            Err(E::custom(format!(
                "`{text}` is not `\"{ALL_LINEAR}\"`; a single layer is `[\"{text}\"]`"
            )))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<TargetModules, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(names)).map(TargetModules::Names)
    }
}
