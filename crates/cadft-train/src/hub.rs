//! Models and data sets by name on the Hugging Face Hub: `hf://OWNER/NAME[@REVISION]` and
//! `hf://datasets/OWNER/NAME[@REVISION][/FILE]`, as the Hub's own file system writes them.
//!
//! What the local cache holds is used without asking the Hub; the rest is downloaded into the cache, which is the one
//! that Python's `huggingface_hub` uses. `HF_HOME` and `HF_HUB_CACHE` say where it is, `HF_TOKEN` opens private and
//! gated repositories, `HF_HUB_OFFLINE=1` forbids the network, `HF_ENDPOINT` names a mirror.

mod download;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::{RepoKind, Spec};

use std::env;
use std::path::{Path, PathBuf};

/// Where the Hub and its cache are, and how to get in.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The cache: `models--OWNER--NAME` and so on below it.
    pub cache: PathBuf,
    /// The Hub's address.
    pub endpoint: String,
    /// For private and gated repositories.
    pub token: Option<String>,
    /// Whether the network may be used.
    pub is_offline: bool,
}

/// A name on the Hub that cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not of the form of a name on the Hub.
    #[error(
        "`{spec}` is not a name on the Hub: {message}\n\
         hint: write `hf://OWNER/NAME[@REVISION]`, or `hf://datasets/OWNER/NAME[@REVISION][/FILE]`"
    )]
    Spec {
        /// The name as written.
        spec: String,
        /// What is wrong.
        message: String,
    },
    /// Not in the cache, and the network is off.
    #[error(
        "`{spec}` is not in the cache `{}`, and `HF_HUB_OFFLINE` is set\n\
         hint: unset it, or fetch the repository on a machine with a network first", .cache.display()
    )]
    Offline {
        /// The name.
        spec: Box<Spec>,
        /// The cache.
        cache: PathBuf,
    },
    /// The repository holds nothing that can be used.
    #[error("`{spec}` holds no {wanted}")]
    Empty {
        /// The name.
        spec: Box<Spec>,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The Hub does not give the repository.
    #[error("`{spec}` cannot be fetched from {endpoint}: {message}\nhint: {hint}")]
    Refused {
        /// The name.
        spec: Box<Spec>,
        /// The Hub's address.
        endpoint: String,
        /// What it said.
        message: String,
        /// What to do.
        hint: &'static str,
    },
}

impl Hub {
    /// As the environment says.
    #[must_use]
    pub fn from_env() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let cache = match (set("HF_HUB_CACHE"), set("HF_HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => PathBuf::from(home).join("hub"),
            (None, None) => {
                let home = env::home_dir().unwrap_or_default();
                home.join(".cache/huggingface/hub")
            }
        };
        let stored = || {
            let text = std::fs::read_to_string(cache.parent()?.join("token")).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let is_offline = set("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()));
        Self {
            token: set("HF_TOKEN").or_else(stored),
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            is_offline,
            cache,
        }
    }

    /// The directory of a model or data set, or the file of a data set, on disk.
    ///
    /// # Errors
    /// A repository that is not in the cache and cannot be fetched.
    pub fn resolve(&self, spec: &Spec) -> Result<PathBuf, HubError> {
        if let Some(found) = self.cached(spec) {
            return Ok(found);
        }
        if self.is_offline {
            return Err(HubError::Offline {
                spec: Box::new(spec.clone()),
                cache: self.cache.clone(),
            });
        }
        download::fetch(self, spec)
    }

    /// What the cache holds, where it is complete.
    fn cached(&self, spec: &Spec) -> Option<PathBuf> {
        let repository = self.cache.join(spec.folder());
        let commit = match std::fs::read_to_string(repository.join("refs").join(&spec.revision)) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => spec.revision.clone(),
        };
        let snapshot = repository.join("snapshots").join(commit);
        match (&spec.file, spec.kind) {
            (Some(file), _) => Some(snapshot.join(file)).filter(|path| path.is_file()),
            (None, RepoKind::Model) => is_complete_model(&snapshot).then_some(snapshot),
            (None, RepoKind::Dataset) => download::is_complete(&snapshot).then_some(snapshot),
        }
    }
}

/// The path on disk of a path that may be a name on the Hub; others come back as they are.
///
/// # Errors
/// As [`Hub::resolve`].
pub fn resolve(path: &str) -> Result<PathBuf, HubError> {
    match Spec::parse(path)? {
        Some(spec) => Hub::from_env().resolve(&spec),
        None => Ok(PathBuf::from(path)),
    }
}

/// Whether a directory holds a configuration and every file of weights that it speaks of.
fn is_complete_model(directory: &Path) -> bool {
    if directory.join("adapter_config.json").is_file() {
        return directory.join("adapter_model.safetensors").is_file();
    }
    let shards = match std::fs::read(directory.join("model.safetensors.index.json")) {
        Ok(text) => download::shards_of(&text),
        Err(_) => vec!["model.safetensors".to_owned()],
    };
    directory.join("config.json").is_file() && shards.iter().all(|file| directory.join(file).is_file())
}
