//! A cache and a Hub for one test. After each attempt, no secret may be anywhere but at the Hub, and no file outside
//! the cache.

use crate::server::{Asked, Reply, Repo, Server};
use cadft_hub::{Endpoint, Hub, HubError, Limits, Secret, Spec};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) const TOKEN: &str = "hf_s3cretOfTheUser";

/// Small sizes and counts, with times that also suffice on a busy machine. Tests about one time shorten it.
pub(crate) fn limits() -> Limits {
    Limits {
        progress_bytes: 4000,
        listing_bytes: 1 << 20,
        small_bytes: 64 << 10,
        files: 3000,
        redirects: 4,
        retries: 2,
        wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(20),
        lock: Duration::from_secs(30),
        ..Limits::default()
    }
}

pub(crate) struct Trial {
    directory: tempfile::TempDir,
    pub(crate) limits: Limits,
    pub(crate) token: Option<&'static str>,
}

impl Trial {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            limits: limits(),
            token: Some(TOKEN),
        }
    }

    /// The directory that holds only the cache.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root().join("hub")
    }

    pub(crate) fn hub(&self, address: &str) -> Hub {
        Hub {
            cache: self.cache(),
            endpoint: Endpoint::parse(address).unwrap(),
            token: self.token.and_then(Secret::token),
            is_offline: false,
            limits: self.limits.clone(),
        }
    }

    /// Resolves a name through a server.
    pub(crate) fn ask(&self, server: &Server, name: &str) -> Result<PathBuf, HubError> {
        let start = Instant::now();
        let outcome = self.hub(&server.address).resolve(&spec(name));
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{:?}: {outcome:?}",
            start.elapsed()
        );
        self.check(&outcome);
        outcome
    }

    /// Resolves a name through an honest server whose answers `change` alters.
    pub(crate) fn ask_changed(
        &self,
        repo: &Repo,
        name: &str,
        change: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static,
    ) -> Result<PathBuf, HubError> {
        let repo = repo.clone();
        let server = Server::start(move |asked| change(asked, repo.reply(asked)));
        self.ask(&server, name)
    }

    /// Resolves a name offline, from the cache alone.
    pub(crate) fn ask_offline(&self, name: &str) -> Result<PathBuf, HubError> {
        let hub = Hub {
            is_offline: true,
            ..self.hub("http://127.0.0.1:1")
        };
        let outcome = hub.resolve(&spec(name));
        self.check(&outcome);
        outcome
    }

    fn check(&self, outcome: &Result<PathBuf, HubError>) {
        match outcome {
            Ok(path) => assert!(path.starts_with(self.cache()), "{}", path.display()),
            Err(error) => check_message(error),
        }
        let outside: Vec<_> = fs::read_dir(self.root())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(outside.iter().all(|name| name == "hub"), "{outside:?}");
        for path in paths_below(&self.cache()) {
            if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                assert!(
                    !bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()),
                    "{}",
                    path.display()
                );
            }
            let is_inside = fs::canonicalize(&path)
                .is_ok_and(|real| real.starts_with(fs::canonicalize(self.root()).unwrap()));
            assert!(is_inside, "{} leads out of the cache", path.display());
        }
    }

    /// Partial files left in the cache.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let is_part = |path: &PathBuf| {
            path.extension()
                .is_some_and(|end| end == "incomplete" || end == "tmp")
        };
        paths_below(&self.cache()).into_iter().filter(is_part).collect()
    }
}

/// Checks that an error has a hint, and contains neither a secret nor a control character.
pub(crate) fn check_message(error: &HubError) {
    let text = cadft_hub::with_hints(error);
    assert!(
        !text.contains(TOKEN) && !format!("{error:?}").contains(TOKEN),
        "{text}"
    );
    assert!(!text.contains("Signature"), "{text}");
    assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
    assert_eq!(
        text.lines().count(),
        if text.contains("\nhint: ") { 2 } else { 1 },
        "{text}"
    );
    let is_without_hint = matches!(error, HubError::Empty { .. } | HubError::Io { .. });
    assert!(text.contains("\nhint: ") || is_without_hint, "{text}");
}

pub(crate) fn spec(name: &str) -> Spec {
    Spec::parse(name).unwrap().unwrap()
}

/// All paths below a directory, sorted; links are not followed.
pub(crate) fn paths_below(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    for path in paths.clone() {
        if path.is_dir() && !path.is_symlink() {
            paths.extend(paths_below(&path));
        }
    }
    paths.sort();
    paths
}

/// A safetensors file with one tensor of `size` bytes.
pub(crate) fn weights(size: usize) -> Vec<u8> {
    let header = format!(r#"{{"w": {{"dtype": "U8", "shape": [{size}], "data_offsets": [0, {size}]}}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend((0..size).map(|index| (index * 31 % 251) as u8));
    bytes
}

/// A small model with its weights in LFS.
pub(crate) fn model() -> Repo {
    let repo = Repo::new(&[
        ("README.md", b"never asked for"),
        ("config.json", br#"{"model_type": "llama"}"#),
        ("model.safetensors", &weights(40_000)),
        ("tokenizer.json", b"{}"),
    ]);
    Repo {
        token: Some(TOKEN),
        ..repo
    }
}

/// Checks that a model on disk equals that of the Hub.
pub(crate) fn check_model(directory: &Path) {
    for entry in model().entries {
        if entry.name != "README.md" {
            assert_eq!(
                fs::read(directory.join(&entry.name)).unwrap(),
                entry.bytes,
                "{}",
                entry.name
            );
        }
    }
}
