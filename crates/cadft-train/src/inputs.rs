//! What a run reads besides its recipe and its data, kept with every checkpoint: a continued run is compared with it.

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

/// The name of the weights among the digests.
pub(crate) const WEIGHTS: &str = "weights";
/// The name of the adapter that is trained on from.
pub(crate) const ADAPTER: &str = "adapter";

/// What a run reads besides its recipe and its data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inputs {
    /// `config.json` of the model.
    pub config: Map<String, Value>,
    /// Digests of everything else, by what it is.
    pub digests: BTreeMap<String, String>,
    /// The commit on the Hub, where the model is from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Inputs {
    /// Everything but the weights, which take longer to read. `carried` is where the tokenizer is.
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

    /// With the digests of the weights.
    pub(crate) fn with_weights(mut self, weights: &WeightsDigests) -> Self {
        self.digests.extend(weights.wait().clone());
        self
    }
}

/// The SHA-256 of a model's weights, and of an adapter that is trained on from, as they are on the disk.
///
/// It is of every byte: size and time of a file say nothing for certain, as programs that copy files keep both. A
/// thread of its own reads the files while they are loaded, and the first checkpoint is the first to need the result.
#[derive(Clone, Debug)]
pub(crate) struct WeightsDigests {
    /// The directories by what they hold. Random weights have none: the seed and `config.json` make them.
    directories: Vec<(&'static str, PathBuf)>,
    digests: Arc<OnceLock<BTreeMap<String, String>>>,
}

impl WeightsDigests {
    pub(crate) fn new(recipe: &Recipe, model: &Path, adapter: Option<&Path>) -> Self {
        let model = (recipe.model.init == Init::Pretrained).then_some((WEIGHTS, model));
        let adapter = adapter.map(|adapter| (ADAPTER, adapter));
        let directories = model.into_iter().chain(adapter);
        Self {
            directories: directories.map(|(name, path)| (name, path.to_owned())).collect(),
            digests: Arc::default(),
        }
    }

    /// Begins to read, in a thread of its own.
    pub(crate) fn begin(&self) {
        let this = self.clone();
        std::thread::spawn(move || {
            let _ = this.wait();
        });
    }

    /// The digests, as soon as they are known; none of files that cannot be read.
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

/// Every file that the weights may be read from: those in the directory, and those that an index names.
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
    // A stale index may name files that are gone; the loader says so where it needs them.
    names.retain(|name| cadft_files::stays_below(name) && directory.join(name).is_file());
    Some(names)
}

/// The files that ids are made with. A file that is absent differs from one that is empty.
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
