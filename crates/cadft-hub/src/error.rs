//! Errors of fetching from the Hub and of sending to it.

use crate::spec::Spec;
use crate::text::{Visible, some_of};
use cadft_files::{Hint, shown, visible_name};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The requested name and file, and the address.
#[derive(Clone, Debug)]
pub struct Place {
    pub(crate) spec: Spec,
    pub(crate) file: Option<String>,
    pub(crate) way: Way,
    pub(crate) address: String,
}

/// Whether something is fetched or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Fetched from the Hub.
    From,
    /// Sent to the Hub.
    To,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.spec)?;
        if let Some(file) = &self.file {
            write!(f, ", file `{}`", Visible(file))?;
        }
        let way = match self.way {
            Way::From => "from",
            Way::To => "to",
        };
        write!(f, ", {way} {}", self.address)
    }
}

/// A name on the Hub that cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name is malformed.
    #[error("`{}` is not a name on the Hub: {message}", Visible(.spec))]
    Spec {
        /// The name as written.
        spec: String,
        /// What is wrong with it.
        message: String,
    },
    /// An environment variable has an invalid value.
    #[error("`{name}` {message}")]
    Variable {
        /// The variable, or the file that is used in its place.
        name: String,
        /// What is wrong. It does not contain the value, which may be a secret.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// The name is not in the cache, and the network is off.
    #[error(
        "`{spec}` is not in the cache `{}`, and `HF_HUB_OFFLINE` is set{}", shown(.cache), listed(.commits)
    )]
    Offline {
        /// The name.
        spec: Box<Spec>,
        /// The cache.
        cache: PathBuf,
        /// The commits in the cache, if none of them is the revision.
        commits: Vec<String>,
    },
    /// The cache holds some of the files, and the network is off.
    #[error(
        "`{spec}` is not complete in the cache `{}`, and `HF_HUB_OFFLINE` is set: {} {}", shown(.snapshot),
        some_of(.missing), if .missing.len() == 1 { "is absent" } else { "are absent" }
    )]
    Incomplete {
        /// The name.
        spec: Box<Spec>,
        /// The directory of the files that are present.
        snapshot: PathBuf,
        /// The absent files.
        missing: Vec<String>,
    },
    /// Nothing can be sent, because the network is off.
    #[error("`{spec}` cannot be sent: `HF_HUB_OFFLINE` is set")]
    CannotSend {
        /// The name.
        spec: Box<Spec>,
    },
    /// Nothing can be sent without a token.
    #[error("`{spec}`: sending needs a token, and there is none")]
    NoToken {
        /// The name.
        spec: Box<Spec>,
    },
    /// A name to which nothing can be sent.
    #[error("`{spec}` cannot be sent to: {message}")]
    Target {
        /// The name.
        spec: Box<Spec>,
        /// What is wrong with it.
        message: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Files to send that are missing, damaged or not what they should be, all of them.
    #[error("{}", .problems.join("\n"))]
    Unsendable {
        /// Each file with what is wrong.
        problems: Vec<String>,
        /// What to do.
        hint: &'static str,
    },
    /// A file was changed while it was sent.
    #[error("`{}` was changed while it was sent", shown(.path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The repository is public, although it should be private.
    #[error("`{spec}` is public, and `private` was asked for: nothing was sent")]
    Public {
        /// The name.
        spec: Box<Spec>,
    },
    /// The `.gitignore` of the repository leaves out files that are sent.
    #[error("`{spec}`: its `.gitignore` leaves out {}", some_of(.files))]
    Ignored {
        /// The name.
        spec: Box<Spec>,
        /// The files.
        files: Vec<String>,
    },
    /// The Hub refuses the metadata of the card.
    #[error("the Hub refuses the metadata of `README.md` for `{spec}`: {}", .problems.join("; "))]
    Card {
        /// The name.
        spec: Box<Spec>,
        /// What the Hub says.
        problems: Vec<String>,
    },
    /// The repository has no usable files.
    #[error("`{spec}` holds no {wanted}")]
    Empty {
        /// The name.
        spec: Box<Spec>,
        /// The kind of files that was expected.
        wanted: &'static str,
    },
    /// The Hub refuses the request.
    #[error("{place}: the Hub answers {status}{}", said(.message))]
    Refused {
        /// The requested name, file and address.
        place: Box<Place>,
        /// The HTTP status.
        status: u16,
        /// The Hub's message.
        message: String,
    },
    /// An answer does not match the Hub's API, its sizes or its hashes.
    #[error("{place}: {}", visible_name(.message))]
    Malformed {
        /// The requested name, file and address.
        place: Box<Place>,
        /// What is wrong.
        message: String,
    },
    /// The connection failed or is too slow.
    #[error("{place}: {}", visible_name(.message))]
    Network {
        /// The requested name, file and address.
        place: Box<Place>,
        /// What happened.
        message: String,
    },
    /// A cached file does not match what the Hub sent.
    #[error("`{}` in the cache of the Hub {message}: it is damaged, or was changed by hand", shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The evidence.
        message: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot {action} `{}`: {source}", shown(.path))]
    Io {
        /// The failed operation.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

impl Hint for HubError {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        let hint = match self {
            Self::Spec { .. } => {
                "write `hf://OWNER/NAME[@REVISION]`, or `hf://datasets/OWNER/NAME[@REVISION][/FILE]`"
            }
            Self::Variable { hint, .. } => hint,
            Self::Offline { .. } => "unset it, or fetch the repository on a machine with a network first",
            Self::Incomplete { spec, .. } => {
                return vec![format!("unset it to fetch them; {}", instead(spec)).into()];
            }
            Self::Empty { .. } => return vec![],
            Self::CannotSend { .. } => "unset it",
            Self::NoToken { .. } => "set `HF_TOKEN` to a token with write access, or run `hf auth login`",
            Self::Target { hint, .. } | Self::Unsendable { hint, .. } => hint,
            Self::Changed { .. } => "send it again when nothing writes it",
            Self::Public { .. } => "make it private on the Hub, name another one, or leave out `private`",
            Self::Ignored { .. } => "change the `.gitignore` of the repository on the Hub",
            Self::Card { .. } => {
                "mend it; identifiers of licences are listed at https://huggingface.co/docs/hub/repositories-licenses"
            }
            Self::Refused { status, place, .. } => hint_for(*status, place.way),
            Self::Malformed { .. } => {
                "look at `HF_ENDPOINT`; what answers there, or on the way to it, is not a Hub or has a fault"
            }
            Self::Network { place, .. } if place.way == Way::To => {
                "look at the network and at `HF_ENDPOINT`; the same command continues where it stopped"
            }
            Self::Network { .. } => {
                "look at the network and at `HF_ENDPOINT`; with `HF_HUB_OFFLINE=1` only the cache is used"
            }
            Self::Damaged { .. } => "remove it, and it is fetched again",
            Self::Io { source, .. } => return hint_of(source).map(Cow::from).into_iter().collect(),
        };
        vec![hint.into()]
    }

    fn is_input(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Network { .. } | Self::Changed { .. } => false,
            Self::Refused { status, .. } => !is_busy(*status),
            _ => true,
        }
    }
}

impl HubError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Whether a retry may succeed.
pub(crate) fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

fn said(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {}", Visible(message))
    }
}

fn listed(commits: &[String]) -> String {
    if commits.is_empty() {
        return String::new();
    }
    format!("; it holds {}, which can be named after `@`", some_of(commits))
}

fn instead(spec: &Spec) -> &'static str {
    match spec.kind {
        crate::RepoKind::Model => "or fetch the repository on a machine with a network first",
        crate::RepoKind::Dataset => {
            "to use only what is there, name its files with `hf://datasets/OWNER/NAME/FILE`, or give the directory itself"
        }
    }
}

fn hint_for(status: u16, way: Way) -> &'static str {
    match (status, way) {
        (401, Way::To) => {
            "`HF_TOKEN`, or the token of `hf auth login`, is not valid here, or the repository is not yours"
        }
        (403, Way::To) => {
            "the token needs write access to the repository, and to create one also to its owner: look at its permissions"
        }
        (402, Way::To) => "the owner has no room left on the Hub, or the plan does not allow it",
        (404 | 410, Way::To) => "look at the owner, the name and the revision, and at what the token may see",
        (_, Way::To) if is_busy(status) => "try again later: the same command continues where it stopped",
        (_, Way::To) => "look at what the Hub says, and at `HF_ENDPOINT`",
        (_, Way::From) => hint_for_fetching(status),
    }
}

fn hint_for_fetching(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "look at the owner and the name; a private or gated repository needs a token that may read it in `HF_TOKEN`"
        }
        404 | 410 => {
            "look at the owner, the name and the revision; a private repository needs a token in `HF_TOKEN`"
        }
        429 => {
            "the Hub has had too many requests from here: wait some minutes, or give a token in `HF_TOKEN`"
        }
        _ if is_busy(status) => "try again later; with `HF_HUB_OFFLINE=1` only the cache is used",
        _ => "look at `HF_ENDPOINT`; what answers there is not a Hub or has a fault",
    }
}

fn hint_of(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or put the cache elsewhere with `HF_HOME`")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("put the cache elsewhere with `HF_HOME`")
        }
        _ => None,
    }
}
