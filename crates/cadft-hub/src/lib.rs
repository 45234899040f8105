//! Models and data sets by name on the Hugging Face Hub: `hf://OWNER/NAME[@REVISION]` and
//! `hf://datasets/OWNER/NAME[@REVISION][/FILE]`, as the Hub's own file system writes them.
//!
//! All that is public is for users, and changes as semantic versions say. The layout of the cache is that of
//! `huggingface_hub`.
//!
//! What the local cache holds is used without asking the Hub; the rest is downloaded into the cache, which is the one
//! that Python's `huggingface_hub` uses. `HF_HOME` and `HF_HUB_CACHE` say where it is, `HF_TOKEN` opens private and
//! gated repositories, `HF_HUB_OFFLINE=1` forbids the network, `HF_ENDPOINT` names a mirror.
//!
//! Nothing that the network says is trusted: names become paths only where they stay below their directory, the token
//! goes to the Hub itself only, sizes and hashes are compared, and everything has a [limit](Limits).

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
mod secret;
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

/// Where the Hub and its cache are, and how to get in.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The cache: `models--OWNER--NAME` and so on below it.
    pub cache: PathBuf,
    /// The Hub's address.
    pub endpoint: Endpoint,
    /// For private and gated repositories.
    pub token: Option<Secret>,
    /// Whether the network may not be used.
    pub is_offline: bool,
    /// How long the Hub is waited for, and how much of it is taken.
    pub limits: Limits,
}

impl Hub {
    /// As the environment says.
    ///
    /// # Errors
    /// A variable that makes no sense.
    pub fn from_env() -> Result<Self, HubError> {
        environment::read(&|name| std::env::var_os(name))
    }

    /// The directory of a model or data set, or the file of a data set, on disk.
    ///
    /// # Errors
    /// A repository that is not in the cache and cannot be fetched.
    pub fn resolve(&self, spec: &Spec) -> Result<PathBuf, HubError> {
        let repository = Repository::new(self, spec);
        match cached::look_up(&repository, spec)? {
            Cached::Complete(found) => Ok(found),
            // Whether it is all of the data set only the Hub knows.
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

    /// A server can repeat what was sent to it.
    fn hide_secrets(&self, mut error: HubError) -> HubError {
        let secrets = [self.token.as_ref(), self.endpoint.password.as_ref()];
        if let HubError::Refused { place, message, .. }
        | HubError::Malformed { place, message }
        | HubError::Network { place, message } = &mut error
        {
            for secret in secrets.into_iter().flatten() {
                *message = secret.hide(message);
                place.address = secret.hide(&place.address);
                place.file = place.file.as_deref().map(|file| secret.hide(file));
            }
        }
        error
    }
}

/// The path on disk of a path that may be a name on the Hub; others come back as they are.
///
/// # Errors
/// As [`Hub::resolve`].
pub fn resolve(path: &str) -> Result<PathBuf, HubError> {
    match Spec::parse(path)? {
        Some(spec) => Hub::from_env()?.resolve(&spec),
        None => Ok(PathBuf::from(path)),
    }
}
