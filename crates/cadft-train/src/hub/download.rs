//! Downloads into the cache: the files that can be used, all of one commit.

use super::{Hub, HubError, RepoKind, Spec};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Says that a snapshot of a data set was downloaded to its end.
const COMPLETE: &str = ".cadft-complete";
/// Ends of the names of data files.
const DATA: [&str; 9] = [
    ".jsonl",
    ".json",
    ".parquet",
    ".csv",
    ".tsv",
    ".jsonl.gz",
    ".jsonl.zst",
    ".json.gz",
    ".ndjson",
];
/// Everything about a model but its weights.
const AROUND_WEIGHTS: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "tokenizer.model",
    "adapter_config.json",
    "adapter_model.safetensors",
];
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Whether a snapshot of a data set is complete.
pub(super) fn is_complete(snapshot: &Path) -> bool {
    snapshot.join(COMPLETE).is_file()
}

/// The files that an index names.
pub(super) fn shards_of(index: &[u8]) -> Vec<String> {
    let index: Value = serde_json::from_slice(index).unwrap_or_default();
    let files: BTreeSet<String> = index["weight_map"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(|file| file.as_str().map(str::to_owned))
        .collect();
    files.into_iter().collect()
}

/// Downloads what `spec` names; where it is on disk.
pub(super) fn fetch(hub: &Hub, spec: &Spec) -> Result<PathBuf, HubError> {
    let fail = |error| refused(hub, spec, &error);
    let api = ApiBuilder::from_cache(Cache::new(hub.cache.clone()))
        .with_endpoint(hub.endpoint.clone())
        .with_token(hub.token.clone())
        .with_progress(false)
        .with_retries(3)
        .build()
        .map_err(fail)?;
    let info = api.repo(repository(spec, &spec.revision)).info().map_err(fail)?;
    let names = info.siblings.into_iter().map(|file| file.rfilename);
    let files: Vec<String> = names.filter(|name| is_inside(name)).collect();
    let snapshot = hub.cache.join(spec.folder()).join("snapshots").join(&info.sha);
    let pinned = Pinned {
        api: &api,
        repo: repository(spec, &info.sha),
    };
    let found = match (&spec.file, spec.kind) {
        (Some(file), _) => pinned.get(file).map_err(fail)?,
        (None, RepoKind::Model) => {
            pinned
                .model(&files)
                .map_err(fail)?
                .ok_or_else(|| HubError::Empty {
                    spec: Box::new(spec.clone()),
                    wanted: "`config.json` and safetensors weights",
                })?;
            snapshot
        }
        (None, RepoKind::Dataset) => {
            let data: Vec<_> = files
                .iter()
                .filter(|file| DATA.iter().any(|end| file.ends_with(end)))
                .collect();
            if data.is_empty() {
                return Err(HubError::Empty {
                    spec: Box::new(spec.clone()),
                    wanted: "data files",
                });
            }
            data.iter()
                .try_for_each(|file| pinned.get(file).map(|_| ()))
                .and_then(|()| Ok(fs::write(snapshot.join(COMPLETE), "")?))
                .map_err(fail)?;
            snapshot
        }
    };
    // Only a complete download becomes what the revision stands for.
    Cache::new(hub.cache.clone())
        .repo(repository(spec, &spec.revision))
        .create_ref(&info.sha)
        .map_err(|error| fail(error.into()))?;
    Ok(found)
}

/// Whether a name of a file stays inside its repository.
fn is_inside(name: &str) -> bool {
    let parts = Path::new(name).components();
    parts.into_iter().all(|part| matches!(part, Component::Normal(_)))
}

fn repository(spec: &Spec, revision: &str) -> Repo {
    let kind = match spec.kind {
        RepoKind::Model => RepoType::Model,
        RepoKind::Dataset => RepoType::Dataset,
    };
    Repo::with_revision(spec.id.clone(), kind, revision.to_owned())
}

/// A repository at one commit.
struct Pinned<'a> {
    api: &'a Api,
    repo: Repo,
}

impl Pinned<'_> {
    fn get(&self, file: &str) -> Result<PathBuf, ApiError> {
        self.api.repo(self.repo.clone()).get(file)
    }

    /// Everything that belongs to a model or adapter; `None` where the repository holds neither.
    fn model(&self, files: &[String]) -> Result<Option<()>, ApiError> {
        let has = |name: &str| files.iter().any(|file| file == name);
        let weights = if has("adapter_model.safetensors") {
            vec![]
        } else if has("config.json") && has(INDEX) {
            let index = self.get(INDEX)?;
            let shards = shards_of(&fs::read(index)?);
            if !shards.iter().all(|shard| has(shard)) {
                return Ok(None);
            }
            shards
        } else if has("config.json") && has(SINGLE) {
            vec![SINGLE.to_owned()]
        } else {
            return Ok(None);
        };
        for name in AROUND_WEIGHTS.into_iter().filter(|name| has(name)) {
            self.get(name)?;
        }
        for name in &weights {
            self.get(name)?;
        }
        Ok(Some(()))
    }
}

fn refused(hub: &Hub, spec: &Spec, error: &ApiError) -> HubError {
    let message = error.to_string();
    let says = |code: &str| message.contains(code);
    let hint = if says("401") || says("403") {
        "a private or gated repository needs a token that may read it in `HF_TOKEN`"
    } else if says("404") {
        "look at the owner, the name and the revision; a private repository needs a token in `HF_TOKEN`"
    } else {
        "look at the network and at `HF_ENDPOINT`; with `HF_HUB_OFFLINE=1` only the cache is used"
    };
    HubError::Refused {
        spec: Box::new(spec.clone()),
        endpoint: hub.endpoint.clone(),
        message,
        hint,
    }
}
