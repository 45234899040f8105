//! Downloads into the cache: the needed files, all of one commit.

use crate::Hub;
use crate::address::Address;
use crate::cache::Repository;
use crate::choice::{ADAPTER, CARD, CONFIG, INDEX, SINGLE, around_weights, is_data_file};
use crate::client::{Client, Subject, refused, text};
use crate::download::{Download, Wanted};
use crate::error::HubError;
use crate::listing::{self, Files, Info};
use crate::name::{self, is_commit};
use crate::spec::{RepoKind, Spec};
use crate::text::{Visible, some_of};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use ureq::http::Method;

/// What stays as it is in one part of an address.
pub(crate) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
pub(crate) const PLAIN_OR_SLASH: &AsciiSet = &PLAIN.remove(b'/');

/// Downloads what `spec` names, and returns its path on disk.
pub(crate) fn fetch(hub: &Hub, spec: &Spec) -> Result<PathBuf, HubError> {
    let client = Client::new(hub);
    let repository = Repository::new(hub, spec);
    let subject = Subject::fetched(spec, None);
    let address = hub.endpoint.address.below(&format!(
        "/api/{}/{}/revision/{}",
        spec.kind.plural(),
        spec.id,
        utf8_percent_encode(&spec.revision, PLAIN)
    ));
    let (bytes, _) = client.json(subject, &address)?;
    let malformed = |message: String| subject.malformed(&address, message);
    let info = Info::parse(&bytes).map_err(|message| malformed(format!("the answer {message}")))?;
    if is_commit(&spec.revision) && info.commit != spec.revision {
        return Err(malformed(format!(
            "the answer is about another commit, `{}`",
            info.commit
        )));
    }
    repository.create()?;
    let (files, names) = match &spec.file {
        Some(_) => (None, BTreeSet::new()),
        None => {
            let files = list(&client, &repository, spec, &info)?;
            let names = files.as_ref().map_or_else(
                || info.files.into_iter().collect(),
                |files| files.keys().cloned().collect(),
            );
            (files, names)
        }
    };
    let commit = Commit {
        client: &client,
        repository: &repository,
        spec,
        id: info.commit,
        files,
        names,
        placed: RefCell::default(),
    };
    let found = commit.fetch()?;
    commit.check_placed()?;
    // The revision is stored only after a complete download.
    repository.write_ref(&spec.revision, &commit.id)?;
    Ok(found)
}

/// All files of a commit, from the cache or page by page from the Hub; `None` if the server has no such listing, which
/// is the case for some mirrors.
fn list(
    client: &Client<'_>,
    repository: &Repository,
    spec: &Spec,
    info: &Info,
) -> Result<Option<Files>, HubError> {
    const MOST_PAGES: usize = 1000;
    if let Some(files) = repository.files(&info.commit) {
        return Ok(Some(files));
    }
    let most = client.hub.limits.files;
    let subject = Subject::fetched(spec, None);
    let base = format!("/api/{}/{}/tree/{}", spec.kind.plural(), spec.id, info.commit);
    let base = client.hub.endpoint.address.below(&base);
    let mut address = base.below("?recursive=true&expand=false");
    let mut files = Files::new();
    let too_many = || subject.malformed(&base, format!("the repository has more than {most} files"));
    for _ in 0..MOST_PAGES {
        let malformed = |message: String| subject.malformed(&address, message);
        let (bytes, headers) = match client.json(subject, &address) {
            Err(HubError::Refused {
                status: 404 | 405 | 501,
                ..
            }) if files.is_empty() => {
                return if info.files.len() > most {
                    Err(too_many())
                } else {
                    Ok(None)
                };
            }
            other => other?,
        };
        let page =
            listing::parse_page(&bytes).map_err(|message| malformed(format!("the listing {message}")))?;
        for (name, listed) in page {
            if files.insert(name, listed).is_some() {
                return Err(malformed("the listing has a file twice".to_owned()));
            }
        }
        if files.len() > most {
            return Err(too_many());
        }
        let Some(next) = text(&headers, "link").and_then(listing::next_page) else {
            repository.write_files(&info.commit, &files)?;
            return Ok(Some(files));
        };
        // Only the query of the next address is used: a mirror may return the address of the Hub itself.
        let next = address
            .join(next)
            .map_err(|what| malformed(format!("the address of the next page {what}")))?;
        address = base.with_query_of(&next);
    }
    Err(subject.malformed(&base, format!("the listing has more than {MOST_PAGES} pages")))
}

/// A repository at one commit.
struct Commit<'a> {
    client: &'a Client<'a>,
    repository: &'a Repository,
    spec: &'a Spec,
    id: String,
    files: Option<Files>,
    names: BTreeSet<String>,
    /// The names of fetched files, with their `ETag`s.
    placed: RefCell<Vec<(String, String)>>,
}

/// Whether the size of a file is limited to `Limits::small_bytes`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Any,
    Small,
}

impl Commit<'_> {
    fn fetch(&self) -> Result<PathBuf, HubError> {
        match (&self.spec.file, self.spec.kind) {
            (Some(file), _) => self.get(file, Size::Any),
            (None, RepoKind::Model) => self.model(),
            (None, RepoKind::Dataset) => self.data(),
        }
    }

    /// Downloads all files of a model or adapter.
    fn model(&self) -> Result<PathBuf, HubError> {
        let has = |name: &str| self.names.contains(name);
        let weights = if has(ADAPTER) {
            vec![ADAPTER.to_owned()]
        } else if has(CONFIG) && has(INDEX) {
            self.shards()?
        } else if has(CONFIG) && has(SINGLE) {
            vec![SINGLE.to_owned()]
        } else {
            return Err(self.empty("`config.json` and safetensors weights"));
        };
        for name in around_weights(has).filter(|name| *name != ADAPTER) {
            self.get(name, Size::Small)?;
        }
        for name in &weights {
            self.get(name, Size::Any)?;
        }
        Ok(self.repository.snapshot(&self.id))
    }

    /// The files that the index of the weights lists.
    fn shards(&self) -> Result<Vec<String>, HubError> {
        let path = self.get(INDEX, Size::Small)?;
        let index = fs::read(&path).map_err(HubError::io("read", &path))?;
        let subject = self.subject(INDEX);
        let malformed = |message: String| subject.malformed(&self.address(INDEX), message);
        let shards =
            listing::shards_of(&index).map_err(|message| malformed(format!("is not an index: {message}")))?;
        let absent: Vec<_> = shards
            .iter()
            .filter(|shard| !self.names.contains(*shard))
            .collect();
        if absent.is_empty() {
            return Ok(shards);
        }
        Err(malformed(format!(
            "names files that the repository does not hold: {}",
            some_of(&absent)
        )))
    }

    fn data(&self) -> Result<PathBuf, HubError> {
        let data: Vec<&String> = self.names.iter().filter(|name| is_data_file(name)).collect();
        if data.is_empty() {
            return Err(self.empty("data files"));
        }
        // All names are checked before the first download: a data set without some of its files is a different one.
        for name in &data {
            self.check_name(name)?;
        }
        // The card may define which files belong together.
        let card = self.names.iter().filter(|name| *name == CARD);
        for name in card.chain(data) {
            self.get(name, Size::Any)?;
        }
        Ok(self.repository.snapshot(&self.id))
    }

    fn empty(&self, wanted: &'static str) -> HubError {
        HubError::Empty {
            spec: Box::new(self.spec.clone()),
            wanted,
        }
    }

    fn check_name(&self, name: &str) -> Result<(), HubError> {
        match name::problem(name) {
            None => Ok(()),
            Some(problem) => Err(self.subject(name).malformed(
                &self.client.hub.endpoint.address,
                format!("the name `{}` of a file {problem}", Visible(name)),
            )),
        }
    }

    /// Downloads one file into the cache.
    fn get(&self, name: &str, size: Size) -> Result<PathBuf, HubError> {
        self.check_name(name)?;
        let subject = self.subject(name);
        let address = self.address(name);
        let wanted = match self.files.as_ref().and_then(|files| files.get(name)) {
            Some(listed) => Wanted {
                etag: listed.etag().to_owned(),
                size: Some(listed.bytes()),
            },
            None => self.ask_about(subject, &address)?,
        };
        let most = self.client.hub.limits.small_bytes;
        if let Some(bytes) = wanted.size.filter(|bytes| size == Size::Small && *bytes > most) {
            return Err(subject.malformed(
                &address,
                format!("has {bytes} bytes; a file of its kind has at most {most}"),
            ));
        }
        let etag = wanted.etag.clone();
        let download = Download {
            client: self.client,
            repository: self.repository,
            subject,
            address,
            wanted,
        };
        download.run()?;
        self.repository.point(&self.id, name, &etag)?;
        self.placed.borrow_mut().push((name.to_owned(), etag));
        Ok(self.repository.snapshot(&self.id).join(name))
    }

    /// Requests the facts of a file that is not in a listing.
    fn ask_about(&self, subject: Subject<'_>, address: &Address) -> Result<Wanted, HubError> {
        let answer = self.client.ask(subject, &Method::HEAD, address, 0)?;
        if answer.status != 200 {
            return Err(refused(subject, &answer));
        }
        if let Some(commit) = answer.facts.commit.as_ref().filter(|commit| **commit != self.id) {
            let message = format!(
                "the file is one of the commit `{}`, not of `{}`",
                Visible(commit),
                self.id
            );
            return Err(subject.malformed(address, message));
        }
        let Some(etag) = answer.facts.etag else {
            return Err(subject.malformed(address, "the answer has no `ETag`"));
        };
        Ok(Wanted {
            etag,
            size: answer.facts.size,
        })
    }

    fn subject<'s>(&'s self, file: &'s str) -> Subject<'s> {
        Subject::fetched(self.spec, Some(file))
    }

    fn address(&self, name: &str) -> Address {
        let kind = match self.spec.kind {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        };
        self.client.hub.endpoint.address.below(&format!(
            "/{kind}{}/resolve/{}/{}",
            self.spec.id,
            self.id,
            utf8_percent_encode(name, PLAIN_OR_SLASH)
        ))
    }

    /// Detects file systems that treat two names as one: the later file has then replaced the earlier.
    fn check_placed(&self) -> Result<(), HubError> {
        let placed = self.placed.borrow();
        let lost = placed
            .iter()
            .find(|(name, etag)| !self.repository.stands_for(&self.id, name, etag));
        match lost {
            None => Ok(()),
            Some((name, _)) => Err(self.subject(name).malformed(
                &self.address(name),
                "on this file system the name is that of another file of the repository too",
            )),
        }
    }
}
