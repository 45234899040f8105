//! `[adapter]`: trains a low-rank update of frozen weights.

use cadft_model::{AdapterConfig, AdapterKind, AdapterScaling, BaseFormat, TargetModules};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[adapter]`; without it every weight of the model is trained.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AdapterSection {
    /// A PEFT directory, or `hf://OWNER/NAME[@REVISION]`, to continue training from. Its configuration replaces the
    /// other keys except `base`; they must be absent.
    pub path: Option<String>,
    /// The kind of update.
    pub kind: AdapterKind,
    /// Rank of the update. Ours: 16.
    pub rank: usize,
    /// Numerator of the scaling. Ours: 32, twice the rank.
    pub alpha: f64,
    /// Probability that an input element of the update is dropped in training. PEFT's: 0.
    pub dropout: f64,
    /// Scale by `alpha / √rank` instead of `alpha / rank` (rsLoRA, arXiv 2312.03732). PEFT's: false.
    pub rs: AdapterScaling,
    /// Names of linear layers, or `"all-linear"`: every one in the blocks, of attention only if there are experts. The
    /// `QLoRA` paper's (arXiv 2305.14314): all-linear.
    pub target_modules: TargetModules,
    /// Modules that are trained whole and stored with the adapter, such as `embed_tokens` or `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Format of the frozen linear weights of the blocks while training. The saved adapter is the same kind of file with
    /// each. Ours: f32.
    pub base: BaseFormat,
}

impl Default for AdapterSection {
    fn default() -> Self {
        Self {
            path: None,
            kind: AdapterKind::Lora,
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            rs: AdapterScaling::Rank,
            target_modules: TargetModules::AllLinear,
            modules_to_save: vec![],
            base: BaseFormat::F32,
        }
    }
}

/// The section as it is written. With `path`, only `base` is allowed besides.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<AdapterKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rs: Option<AdapterScaling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_modules: Option<TargetModules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modules_to_save: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<BaseFormat>,
}

impl Written {
    /// The first key that the directory of `path` defines already.
    fn beside_path(&self) -> Option<&'static str> {
        self.path.as_ref()?;
        self.of_update()
    }

    /// Whether only the base is described, and no adapter for it: so `--set adapter.base=nf4` does not make a run that
    /// trains all weights one with an adapter.
    fn has_no_adapter(&self) -> bool {
        self.base.is_some() && self.path.is_none() && self.of_update().is_none()
    }

    /// The first key that describes the update.
    fn of_update(&self) -> Option<&'static str> {
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
        if written.has_no_adapter() {
            return Err(D::Error::custom(
                "`base` is the format of the weights under an adapter, and there is none; give its `rank` or `path` too",
            ));
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
            base: written.base.unwrap_or(default.base),
        })
    }
}

impl Serialize for AdapterSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match &self.path {
            Some(path) => Written {
                path: Some(path.clone()),
                base: Some(self.base),
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
                base: Some(self.base),
            },
        };
        written.serialize(serializer)
    }
}

impl AdapterSection {
    /// The section in the form of the model crate. With `path`, the directory's configuration is used instead.
    #[must_use]
    pub fn config(&self) -> AdapterConfig {
        AdapterConfig {
            kind: self.kind,
            rank: self.rank,
            alpha: self.alpha,
            scaling: self.rs,
            dropout: self.dropout,
            target_modules: self.target_modules.clone(),
            modules_to_save: self.modules_to_save.clone(),
            ..AdapterConfig::default()
        }
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
            TargetModules::Names(vec!["q_proj".to_owned()])
        );
        let error = read("target-modules = \"q_proj\"").unwrap_err().to_string();
        assert!(error.contains("`[\"q_proj\"]`"), "{error}");
    }

    #[test]
    fn beside_a_directory_to_train_on_from_only_the_base_is_named() {
        let section = read("path = \"a\"\nbase = \"nf4\"").unwrap();
        assert_eq!(
            (section.path.as_deref(), section.base),
            (Some("a"), BaseFormat::Nf4)
        );
        assert_eq!(
            toml::to_string(&section).unwrap(),
            "path = \"a\"\nbase = \"nf4\"\n"
        );
        let error = read("path = \"a\"\nrank = 16").unwrap_err().to_string();
        assert!(error.contains("`rank`") && error.contains("`path`"), "{error}");
    }

    #[test]
    fn a_base_without_an_adapter_is_refused() {
        let error = read("base = \"nf4\"").unwrap_err().to_string();
        assert!(error.contains("`base`") && error.contains("`rank`"), "{error}");
        assert_eq!(read("rank = 4\nbase = \"int8\"").unwrap().base, BaseFormat::Int8);
    }

    #[test]
    fn a_section_reads_back_as_it_was_written() {
        for targets in [
            TargetModules::AllLinear,
            TargetModules::Names(vec!["o_proj".to_owned()]),
        ] {
            let section = AdapterSection {
                kind: AdapterKind::Dora,
                target_modules: targets,
                modules_to_save: vec!["lm_head".to_owned()],
                base: BaseFormat::Bf16,
                ..AdapterSection::default()
            };
            assert_eq!(read(&toml::to_string(&section).unwrap()).unwrap(), section);
        }
    }
}
