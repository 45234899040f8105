//! Sends a model or an adapter to the Hub: only what is not there, in one commit.
//!
//! ```text
//! package.rs     the files to send: which, with sizes and hashes
//! wire.rs        the JSON of the Hub's API, and where it is described
//! repository.rs  the repository, its branch and its card, before anything is sent
//! reach.rs       addresses that a Hub names for bytes: which of them get any
//! object.rs      one large file to the Hub's storage
//! ```
//!
//! The Hub is asked what it has. Files that are there with the same content are not sent. Large files go to the storage
//! first, one after the other; what has arrived there is not sent again by the next push. The commit comes last, so a
//! push that is interrupted changes nothing in the repository, and is finished by a second one. The protocol has no way
//! to continue a large file that is cut: it begins again.

mod object;
mod package;
mod reach;
mod repository;
mod wire;

pub use package::{Content, Local, Package, Packed, files_of};

use crate::Hub;
use crate::address::Address;
use crate::client::{Client, Subject};
use crate::error::{HubError, is_busy};
use crate::fetch::PLAIN;
use crate::name::is_commit;
use crate::send::{JSON, LFS, NDJSON, Post, Reply};
use crate::spec::{RepoKind, Spec};
use object::Object;
use percent_encoding::utf8_percent_encode;
use std::collections::{BTreeMap, BTreeSet};
use wire::{Order, Taken};

/// Where a package is sent.
#[derive(Clone, Debug)]
pub struct Target {
    /// A model, and the branch to commit to. Both are created if they are absent.
    pub spec: Spec,
    /// Who can see a repository that is created.
    pub visibility: Visibility,
    /// The summary of the commit.
    pub message: String,
}

/// Who can see a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// As its owner's settings say: usually everybody.
    OfOwner,
    /// The owner. A repository that exists and is public is refused.
    Private,
}

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The commit that has the files.
    pub commit: String,
    /// The address of the repository.
    pub address: String,
    /// The files that the push committed.
    pub committed: Vec<String>,
    /// Those of them whose bytes were sent, with their size. The bytes of the others were at the Hub already.
    pub sent: Vec<(String, u64)>,
    /// Files that differ, and stay as they are at the Hub: [`Local::stays`].
    pub kept: Vec<String>,
    /// What the Hub remarks on the card.
    pub warnings: Vec<String>,
}

impl Hub {
    /// Sends the files of `package` that the repository does not have. `watch` gets the name of a large file and how
    /// many of its bytes are sent.
    ///
    /// # Errors
    /// Without a token, if the Hub refuses something or its answers are not those of a Hub, if a file changes, if the
    /// connection fails more often than [`Limits::retries`](crate::Limits::retries). The repository then has no commit
    /// of this push.
    pub fn push(
        &self,
        target: &Target,
        package: &Package,
        watch: &dyn Fn(&str, u64),
    ) -> Result<Pushed, HubError> {
        let spec = &target.spec;
        let wrong = |message, hint| HubError::Target {
            spec: Box::new(spec.clone()),
            message,
            hint,
        };
        if spec.kind != RepoKind::Model || spec.file.is_some() {
            let hint = "write `OWNER/NAME`, or `hf://OWNER/NAME@BRANCH`";
            return Err(wrong("it is not the name of a model", hint));
        }
        if is_commit(&spec.revision) {
            return Err(wrong("a commit cannot be added to", "name a branch"));
        }
        let spec = Box::new(spec.clone());
        if self.is_offline {
            return Err(HubError::CannotSend { spec });
        }
        if self.token.is_none() && self.endpoint.password.is_none() {
            return Err(HubError::NoToken { spec });
        }
        let push = Push {
            client: Client::new(self),
            target,
            package,
            watch,
        };
        push.run().map_err(|error| self.hide_secrets(error))
    }
}

struct Push<'a> {
    client: Client<'a>,
    target: &'a Target,
    package: &'a Package,
    watch: &'a dyn Fn(&str, u64),
}

/// What is left to do.
#[derive(Default)]
struct Plan<'a> {
    small: Vec<&'a Packed>,
    large: Vec<&'a Packed>,
    kept: Vec<String>,
}

impl<'a> Push<'a> {
    fn run(&self) -> Result<Pushed, HubError> {
        self.create()?;
        self.check_visibility()?;
        self.find_branch()?;
        let warnings = self.check_card()?;
        let (mut committed, mut sent) = (BTreeSet::new(), BTreeMap::new());
        let mut number = 0;
        let (commit, kept) = loop {
            let plan = self.plan()?;
            let files = || plan.small.iter().chain(&plan.large);
            committed.extend(files().map(|file| file.name.clone()));
            sent.extend(self.send_large(&plan.large)?);
            sent.extend(plan.small.iter().map(|file| (file.name.clone(), file.size)));
            if files().next().is_none() {
                // The Hub has everything, perhaps from a commit whose answer was lost.
                let missing = || self.answered(&self.api(""), "does not name the branch that was there");
                break (self.head()?.ok_or_else(missing)?, plan.kept);
            }
            match self.commit(&plan) {
                Err(error) if number < self.client.hub.limits.retries && is_passing(&error) => {}
                commit => break (commit?, plan.kept),
            }
            self.client.pause(number, None);
            number += 1;
        };
        Ok(Pushed {
            commit,
            address: self.below(&format!("/{}", self.target.spec.id)).to_string(),
            committed: committed.into_iter().collect(),
            sent: sent.into_iter().collect(),
            kept,
            warnings,
        })
    }

    fn subject(&self) -> Subject<'_> {
        Subject::sent(&self.target.spec, None)
    }

    fn subject_of<'s>(&'s self, file: &'s Packed) -> Subject<'s> {
        Subject::sent(&self.target.spec, Some(&file.name))
    }

    fn below(&self, path: &str) -> Address {
        self.client.hub.endpoint.address.below(path)
    }

    /// The address of a request about the repository.
    fn api(&self, rest: &str) -> Address {
        self.below(&format!("/api/models/{}{rest}", self.target.spec.id))
    }

    fn revision(&self) -> String {
        utf8_percent_encode(&self.target.spec.revision, PLAIN).to_string()
    }

    fn post(&self, address: &Address, kind: &'static str, body: &str) -> Result<Reply, HubError> {
        let post = Post {
            address,
            kind,
            body: body.as_bytes(),
            is_signed: false,
        };
        self.client.post(self.subject(), &post)
    }

    fn answered(&self, address: &Address, message: &str) -> HubError {
        self.subject().malformed(address, format!("the answer {message}"))
    }

    /// Asks the Hub what it has.
    fn plan(&self) -> Result<Plan<'a>, HubError> {
        let address = self.api(&format!("/preupload/{}", self.revision()));
        let (mut plan, mut ignored) = (Plan::default(), Vec::new());
        let files: Vec<&Packed> = self.package.files().iter().collect();
        for files in files.chunks(wire::MOST_FILES) {
            let reply = self.post(&address, JSON, &wire::preupload(files).to_string())?;
            if !reply.is_good() {
                return Err(reply.refused(self.subject()));
            }
            let taken =
                wire::taken(&reply.body, files).map_err(|message| self.answered(&address, &message))?;
            for file in files {
                let how = &taken[&file.name];
                if how.is_ignored {
                    ignored.push(file.name.clone());
                }
                self.decide(file, how, &mut plan)?;
            }
        }
        if !ignored.is_empty() {
            let spec = Box::new(self.target.spec.clone());
            let files = ignored;
            return Err(HubError::Ignored { spec, files });
        }
        Ok(plan)
    }

    fn decide(&self, file: &'a Packed, how: &Taken, plan: &mut Plan<'a>) -> Result<(), HubError> {
        let there = how.there.as_deref();
        if there.is_some_and(|there| wire::is_same(there, file)) {
            return Ok(());
        }
        if let (Some(stays), Some(_)) = (file.stays, there)
            && stays(&self.text(file)?)
        {
            plan.kept.push(file.name.clone());
            return Ok(());
        }
        if how.is_large {
            plan.large.push(file);
            return Ok(());
        }
        let most = self.client.hub.limits.commit_bytes;
        if file.size > most {
            let message = format!(
                "the Hub wants all of its {} bytes in the commit: at most {most}",
                file.size
            );
            return Err(self.subject_of(file).malformed(&self.api(""), message));
        }
        plan.small.push(file);
        Ok(())
    }

    /// The text that the repository has under the name of a file.
    fn text(&self, file: &Packed) -> Result<String, HubError> {
        let spec = &self.target.spec;
        let name = utf8_percent_encode(&file.name, crate::fetch::PLAIN_OR_SLASH);
        let address = self.below(&format!("/{}/resolve/{}/{name}", spec.id, self.revision()));
        let subject = Subject::fetched(spec, Some(&file.name));
        let (body, _) = self.client.json(subject, &address)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sends large files that the storage does not have. Returns those that were sent.
    fn send_large(&self, files: &[&Packed]) -> Result<Vec<(String, u64)>, HubError> {
        let mut sent = Vec::new();
        let mut seen = BTreeSet::new();
        // Two files with the same content are one object.
        let files = files.iter().filter(|file| seen.insert(&file.sha256));
        let files: Vec<&Packed> = files.copied().collect();
        for files in files.chunks(wire::MOST_FILES) {
            let (address, mut orders) = self.ask_for_orders(files)?;
            for file in files {
                let order = orders.remove(&file.sha256).unwrap_or(Order::Present);
                if self.send_one(file, &address, &order)? {
                    sent.push((file.name.clone(), file.size));
                }
            }
        }
        Ok(sent)
    }

    fn ask_for_orders(&self, files: &[&Packed]) -> Result<(Address, BTreeMap<String, Order>), HubError> {
        let spec = &self.target.spec;
        let address = self.below(&format!("/{}.git/info/lfs/objects/batch", spec.id));
        let reply = self.post(&address, LFS, &wire::batch(files, &spec.revision).to_string())?;
        if !reply.is_good() {
            return Err(reply.refused(self.subject()));
        }
        let orders = wire::orders(&reply.body, files).map_err(|message| self.answered(&address, &message))?;
        Ok((address, orders))
    }

    /// Sends one large file. Returns whether its bytes were sent. If that fails, it is tried once more with new addresses:
    /// signed ones expire.
    fn send_one(&self, file: &Packed, address: &Address, order: &Order) -> Result<bool, HubError> {
        let sent = self.follow(file, address, order);
        match &sent {
            Err(HubError::Refused {
                status: 400 | 403 | 404,
                ..
            })
            | Err(HubError::Network { .. })
                if matches!(order, Order::Send(_)) => {}
            _ => return sent,
        }
        tracing::info!(file = file.name, "new addresses are asked for");
        let (address, mut orders) = self.ask_for_orders(&[file])?;
        match orders.remove(&file.sha256) {
            Some(Order::Present) | None => Ok(true),
            Some(order) => self.follow(file, &address, &order),
        }
    }

    fn follow(&self, file: &Packed, address: &Address, order: &Order) -> Result<bool, HubError> {
        let subject = self.subject_of(file);
        let actions = match order {
            Order::Present => return Ok(false),
            Order::Send(actions) => actions,
            Order::Refused { code, message } => {
                return Err(HubError::Refused {
                    place: subject.at(address),
                    status: *code,
                    message: message.clone(),
                });
            }
        };
        tracing::info!(file = file.name, size = file.size, "sending");
        let object = Object {
            client: &self.client,
            subject,
            file,
            named_by: address,
            watch: &|bytes| (self.watch)(&file.name, bytes),
        };
        object.send(actions).map(|()| true)
    }

    /// Commits, once. Returns the commit.
    fn commit(&self, plan: &Plan<'_>) -> Result<String, HubError> {
        let small = plan.small.iter().map(|file| Ok((*file, file.bytes()?)));
        let small: Vec<(&Packed, Vec<u8>)> = small.collect::<Result<_, HubError>>()?;
        let address = self.api(&format!("/commit/{}", self.revision()));
        let post = Post {
            address: &address,
            kind: NDJSON,
            body: &wire::commit(&self.target.message, &small, &plan.large),
            is_signed: false,
        };
        let reply = self.client.post_once(self.subject(), &post)?;
        if !reply.is_good() {
            return Err(reply.refused(self.subject()));
        }
        wire::committed(&reply.body).map_err(|message| self.answered(&address, &message))
    }
}

/// Whether a commit may succeed, or have succeeded, if it is tried again: the connection failed, the Hub is busy, or
/// somebody else committed at the same time.
fn is_passing(error: &HubError) -> bool {
    match error {
        HubError::Network { .. } => true,
        HubError::Refused { status, .. } => is_busy(*status) || matches!(status, 409 | 412),
        _ => false,
    }
}
