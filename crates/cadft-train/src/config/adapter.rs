//! `[adapter]`: train a low-rank update beside frozen weights.

use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, TargetModules};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

const ALL_LINEAR: &str = "all-linear";

/// `[adapter]`; without it every weight of the model is trained.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AdapterSection {
    /// A PEFT directory, or `hf://OWNER/NAME[@REVISION]`, to train on from. It says what the other keys say, so they must
    /// be absent.
    pub path: Option<String>,
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
            path: None,
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

/// The section as it is written: with `path` no other key.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_modules: Option<Targets>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modules_to_save: Option<Vec<String>>,
}

impl Written {
    /// The first key that says what the directory of `path` says.
    fn beside_path(&self) -> Option<&'static str> {
        self.path.as_ref()?;
        let keys = [
            (self.kind.is_some(), "kind"),
            (self.rank.is_some(), "rank"),
            (self.alpha.is_some(), "alpha"),
            (self.dropout.is_some(), "dropout"),
            (self.rs.is_some(), "rs"),
            (self.target_modules.is_some(), "target-modules"),
            (self.modules_to_save.is_some(), "modules-to-save"),
        ];
        keys.into_iter().find_map(|(is_set, key)| is_set.then_some(key))
    }
}

impl<'de> Deserialize<'de> for AdapterSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        if let Some(key) = written.beside_path() {
            return Err(D::Error::custom(format!(
                "`{key}` is what the directory of `path` says; remove the one or the other"
            )));
        }
        let default = Self::default();
        Ok(Self {
            path: written.path,
            kind: written.kind.unwrap_or(default.kind),
            rank: written.rank.unwrap_or(default.rank),
            alpha: written.alpha.unwrap_or(default.alpha),
            dropout: written.dropout.unwrap_or(default.dropout),
            rs: written.rs.unwrap_or(default.rs),
            target_modules: written.target_modules.unwrap_or(default.target_modules),
            modules_to_save: written.modules_to_save.unwrap_or(default.modules_to_save),
        })
    }
}

impl Serialize for AdapterSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match &self.path {
            Some(path) => Written {
                path: Some(path.clone()),
                ..Written::default()
            },
            None => Written {
                path: None,
                kind: Some(self.kind),
                rank: Some(self.rank),
                alpha: Some(self.alpha),
                dropout: Some(self.dropout),
                rs: Some(self.rs),
                target_modules: Some(self.target_modules.clone()),
                modules_to_save: Some(self.modules_to_save.clone()),
            },
        };
        written.serialize(serializer)
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
    /// The section as the model crate has it; with `path`, its directory says it instead.
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
    fn a_directory_to_train_on_from_is_the_only_key() {
        let section = read("path = \"a\"").unwrap();
        assert_eq!(section.path.as_deref(), Some("a"));
        assert_eq!(toml::to_string(&section).unwrap(), "path = \"a\"\n");
        let error = read("path = \"a\"\nrank = 16").unwrap_err().to_string();
        assert!(error.contains("`rank`") && error.contains("`path`"), "{error}");
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
