//! The inputs of a run besides its recipe and data. Every checkpoint records them, and a continued run is compared with
//! them.

use crate::checkpoint::{self, Manifest};
use crate::config::{Init, Recipe};
use crate::hub::Spec;
use cadft_data::Tokenizer;
use cadft_model::ModelConfig;
use cadft_model::adapter::ADAPTER_CONFIG;
use cadft_model::checkpoint::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The name of the digest of the model's weights.
pub(crate) const WEIGHTS: &str = "weights";
/// The name of the digest of an adapter that is trained further.
pub(crate) const ADAPTER: &str = "adapter";

/// The name of the frozen model of `[reference]`.
pub(crate) const REFERENCE: &str = "reference";

/// The inputs of a run besides its recipe and data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inputs {
    /// `config.json` of the model.
    pub config: Map<String, Value>,
    /// Digests of all other inputs, by name.
    pub digests: BTreeMap<String, String>,
    /// The commit on the Hub, if the model is from the Hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Inputs {
    /// All inputs except the weights, which take longer to read. `carried` is the directory of the tokenizer.
    pub(crate) fn new(
        recipe: &Recipe,
        (model, carried): (&Path, &Path),
        config: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Self {
        let mut digests = BTreeMap::new();
        let mut add = |name: &str, digest| digests.insert(name.to_owned(), digest);
        add("tokenizer", tokenizer_files(carried));
        if let Ok(template) = tokenizer.chat_template() {
            add("chat template", sha256(template.source().as_bytes()));
        }
        let stop = tokenizer.stop_token_ids().iter().map(ToString::to_string);
        add("stop tokens", stop.collect::<Vec<_>>().join(", "));
        let is_on_hub = matches!(Spec::parse(&recipe.model.path), Ok(Some(_)));
        let commit = model.file_name().filter(|_| is_on_hub);
        Self {
            config: config.to_object(Dtype::F32),
            digests,
            commit: commit.map(|name| name.to_string_lossy().into_owned()),
        }
    }

    /// Adds the digests of the weights.
    pub(crate) fn with_weights(mut self, weights: &WeightsDigests) -> Self {
        self.digests.extend(weights.wait().clone());
        self
    }
}

/// The SHA-256 of the files of a model's weights, and of an adapter that is trained further.
///
/// The digests cover every byte: sizes and times are not reliable, because copying can preserve both. A separate thread
/// reads the files while they are loaded; the first checkpoint is the first to need the digests.
#[derive(Clone, Debug)]
pub(crate) struct WeightsDigests {
    /// The directories, by the name of the digest. Random weights have no directory: they follow from the seed and
    /// `config.json`.
    directories: Vec<(&'static str, PathBuf)>,
    digests: Arc<OnceLock<BTreeMap<String, String>>>,
}

impl WeightsDigests {
    pub(crate) fn new(recipe: &Recipe, model: &Path, [adapter, reference]: [Option<&Path>; 2]) -> Self {
        let model = (recipe.model.init == Init::Pretrained).then_some((WEIGHTS, model));
        let adapter = adapter.map(|adapter| (ADAPTER, adapter));
        let reference = reference.map(|reference| (REFERENCE, reference));
        let directories = model.into_iter().chain(adapter).chain(reference);
        Self {
            directories: directories.map(|(name, path)| (name, path.to_owned())).collect(),
            digests: Arc::default(),
        }
    }

    /// Starts to read, in a separate thread.
    pub(crate) fn begin(&self) {
        let this = self.clone();
        std::thread::spawn(move || {
            let _ = this.wait();
        });
    }

    /// Waits for the digests. Files that cannot be read have none.
    fn wait(&self) -> &BTreeMap<String, String> {
        self.digests.get_or_init(|| {
            let mut digests = BTreeMap::new();
            for (name, directory) in &self.directories {
                match of_weights(directory) {
                    Some(digest) => {
                        digests.insert((*name).to_owned(), digest);
                    }
                    None => tracing::warn!("`{}` cannot be read again to be compared", directory.display()),
                }
            }
            digests
        })
    }
}

fn of_weights(directory: &Path) -> Option<String> {
    let mut all = Sha256::new();
    for name in weight_files(directory)? {
        let member = Manifest::member(&directory.join(&name)).ok()?;
        all.update(format!("{name} {}\n", member.sha256));
    }
    Some(checkpoint::hex(&all.finalize()))
}

/// Every file that the weights may be read from: those in the directory, and those in an index.
fn weight_files(directory: &Path) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).ok()? {
        let name = entry.ok()?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") || name == ADAPTER_CONFIG {
            names.insert(name);
        } else if name.ends_with(".safetensors.index.json") {
            let index = cadft_files::read(&directory.join(&name)).ok()?;
            let index: Value = serde_json::from_slice(&index).ok()?;
            let named = index["weight_map"].as_object().into_iter().flat_map(Map::values);
            names.extend(named.filter_map(Value::as_str).map(str::to_owned));
            names.insert(name);
        }
    }
    // An outdated index may name missing files; the loader reports those that it needs.
    names.retain(|name| cadft_files::stays_below(name) && directory.join(name).is_file());
    Some(names)
}

/// The digest of the tokenizer files. A missing file and an empty file give different digests.
fn tokenizer_files(directory: &Path) -> String {
    let mut hash = Sha256::new();
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ] {
        let bytes = cadft_files::read(&directory.join(name)).ok();
        hash.update(
            bytes
                .as_ref()
                .map_or(u64::MAX, |bytes| bytes.len() as u64)
                .to_le_bytes(),
        );
        hash.update(bytes.unwrap_or_default());
    }
    checkpoint::hex(&hash.finalize())
}

fn sha256(bytes: &[u8]) -> String {
    checkpoint::hex(&Sha256::digest(bytes))
}
