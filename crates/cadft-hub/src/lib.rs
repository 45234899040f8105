//! Models and data sets by name on the Hugging Face Hub: `hf://OWNER/NAME[@REVISION]` and
//! `hf://datasets/OWNER/NAME[@REVISION][/FILE]`, as the Hub's own file system writes them.
//!
//! All public items are for users and follow semantic versioning. The layout of the cache is that of `huggingface_hub`.
//!
//! Files in the local cache are used without asking the Hub. Others are downloaded into the cache, which is shared with
//! Python's `huggingface_hub`. `HF_HOME` and `HF_HUB_CACHE` set its location, `HF_TOKEN` grants access to private and
//! gated repositories, `HF_HUB_OFFLINE=1` turns the network off, and `HF_ENDPOINT` selects a mirror.
//!
//! [`Hub::push`] sends a model or an adapter.
//!
//! Nothing from the network is trusted. Names become paths only if they stay below their directory. The token is sent
//! only to the Hub itself. Sizes and hashes are compared, and everything has a [limit](Limits).

mod address;
mod cache;
mod cached;
mod choice;
mod client;
mod content;
mod download;
mod environment;
mod error;
mod fetch;
mod limits;
pub mod listing;
pub mod name;
pub mod push;
mod secret;
mod send;
mod spec;
mod text;

pub use address::Endpoint;
pub use cadft_files::{Hint, with_hints};
pub use choice::is_data_file;
pub use error::{HubError, Place};
pub use limits::Limits;
pub use secret::Secret;
pub use spec::{RepoKind, Spec};

use cache::Repository;
use cached::Cached;
use std::path::PathBuf;

/// The Hub and its cache: addresses, access and limits.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The directory of the cache, which contains `models--OWNER--NAME` and so on.
    pub cache: PathBuf,
    /// The address of the Hub.
    pub endpoint: Endpoint,
    /// The token for private and gated repositories.
    pub token: Option<Secret>,
    /// Whether the network must not be used.
    pub is_offline: bool,
    /// Limits on time and size.
    pub limits: Limits,
}

impl Hub {
    /// The Hub that the environment variables describe.
    ///
    /// # Errors
    /// [`HubError::Variable`] if a variable has an invalid value.
    pub fn from_env() -> Result<Self, HubError> {
        environment::read(&|name| std::env::var_os(name))
    }

    /// The path on disk of a model, a data set, or one file of a data set. Absent files are downloaded.
    ///
    /// # Errors
    /// If the repository is not in the cache and cannot be downloaded.
    pub fn resolve(&self, spec: &Spec) -> Result<PathBuf, HubError> {
        let repository = Repository::new(self, spec);
        match cached::look_up(&repository, spec)? {
            Cached::Complete(found) => Ok(found),
            // Without a listing only the Hub knows whether the data set is complete.
            Cached::Unlisted(found) if self.is_offline => Ok(found),
            Cached::Partial { snapshot, missing } if self.is_offline && !missing.is_empty() => {
                Err(HubError::Incomplete {
                    spec: Box::new(spec.clone()),
                    snapshot,
                    missing,
                })
            }
            _ if self.is_offline => Err(HubError::Offline {
                spec: Box::new(spec.clone()),
                cache: self.cache.clone(),
                commits: repository.commits(),
            }),
            _ => fetch::fetch(self, spec).map_err(|error| self.hide_secrets(error)),
        }
    }

    /// Removes secrets from an error: a server may repeat what was sent to it.
    fn hide_secrets(&self, mut error: HubError) -> HubError {
        let secrets = [self.token.as_ref(), self.endpoint.password.as_ref()];
        let hide = |text: &mut String| {
            for secret in secrets.into_iter().flatten() {
                *text = secret.hide(text);
            }
        };
        match &mut error {
            HubError::Refused { place, message, .. }
            | HubError::Malformed { place, message }
            | HubError::Network { place, message } => {
                hide(message);
                hide(&mut place.address);
                place.file.as_mut().map(hide);
            }
            HubError::Card { problems, .. } => problems.iter_mut().for_each(hide),
            _ => {}
        }
        error
    }
}

/// The path on disk of a path that may be a name on the Hub. A path that is no such name is returned unchanged.
///
/// # Errors
/// The same as [`Hub::resolve`].
pub fn resolve(path: &str) -> Result<PathBuf, HubError> {
    match Spec::parse(path)? {
        Some(spec) => Hub::from_env()?.resolve(&spec),
        None => Ok(PathBuf::from(path)),
    }
}
