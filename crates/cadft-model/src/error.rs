//! The error type of this crate.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use cadft_files::{Action, Hint};

#[cfg(feature = "files")]
use crate::checkpoint::CheckpointReport;
use crate::shown::{cut, shortened};

/// Errors of reading, writing or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} `{}`: {source}", cadft_files::shown(path))]
    Io {
        /// The failed operation.
        action: Action,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A JSON file cannot be parsed.
    #[error("`{}` is not valid JSON: {source}", cadft_files::shown(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A model configuration lacks a key, or has a malformed or unsupported one.
    #[error("{} cannot be used:{}", config_place(path.as_deref()), list(problems))]
    Config {
        /// The file, if the configuration came from one.
        path: Option<PathBuf>,
        /// Every problem, each with its key and value.
        problems: Vec<String>,
    },
    /// A directory holds no readable weights.
    #[error(
        "`{}` holds no `model.safetensors` or `model.safetensors.index.json`",
        cadft_files::shown(path)
    )]
    NoWeights {
        /// The directory.
        path: PathBuf,
        /// What to do instead, if that is known.
        hint: Option<String>,
    },
    /// `model.safetensors.index.json` does not locate the weights.
    #[error("`{}` cannot be used:{}", cadft_files::shown(path), list(problems))]
    Index {
        /// The index.
        path: PathBuf,
        /// Every problem.
        problems: Vec<String>,
    },
    /// A path is not a model directory, but a model can be made from it.
    #[error(
        "`{}` is not a model directory: it holds no `config.json`",
        cadft_files::shown(path)
    )]
    NotAModel {
        /// The file or directory.
        path: PathBuf,
        /// What to do instead.
        hint: &'static str,
    },
    /// A safetensors file is truncated or corrupt.
    #[cfg(feature = "files")]
    #[error("`{}` is truncated or corrupt: {source}", cadft_files::shown(path))]
    SafeTensors {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: safetensors::SafeTensorError,
    },
    /// The weights of a checkpoint do not match its configuration.
    #[cfg(feature = "files")]
    #[error(
        "the weights in `{}` do not fit its `config.json`:{report}",
        cadft_files::shown(path)
    )]
    Checkpoint {
        /// The checkpoint directory.
        path: PathBuf,
        /// All mismatches.
        report: Box<CheckpointReport>,
    },
    /// An adapter cannot be used.
    #[error("`{}` cannot be used:{}{}", cadft_files::shown(path), of_bases(problems, bases.as_deref()), list(problems))]
    Adapter {
        /// The file or directory.
        path: PathBuf,
        /// Every problem.
        problems: Vec<String>,
        /// The models, if the adapter names one and another one may be the reason.
        bases: Option<Box<Bases>>,
    },
    /// The weights of an adapter are a pickle, which is not read.
    #[error(
        "`{}` cannot be used:\n  - it is a pickle, which can run code and is not read",
        cadft_files::shown(.0)
    )]
    Pickle(PathBuf),
    /// A model with an unmerged adapter cannot be written as a checkpoint.
    #[error("`{}`: the model has an adapter", cadft_files::shown(.0))]
    Unmerged(PathBuf),
    /// A directory to be replaced holds files that this crate did not write.
    #[error(
        "`{}` exists and holds other files: {}",
        cadft_files::shown(path),
        ticked(entries)
    )]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
        /// The files that would be lost.
        entries: Vec<String>,
    },
    /// A value is too large for f16.
    #[error("tensor `{tensor}` holds `{value}`, too large for f16")]
    F16Overflow {
        /// The tensor.
        tensor: String,
        /// The first value that does not fit.
        value: f32,
    },
    /// A GGUF file is malformed, truncated or not supported.
    #[error("GGUF file `{}`: {}", cadft_files::shown(path), shortened(problems).join("\n  "))]
    Gguf {
        /// The file.
        path: PathBuf,
        /// Every problem.
        problems: Vec<String>,
    },
    /// A generation request is invalid.
    #[error("{message}")]
    Generate {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hints: Vec<&'static str>,
    },
}

/// The model that an adapter names, and the one that it was put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bases {
    /// The name or the directory in `adapter_config.json`.
    pub named: String,
    /// The directory of the other model, if `ModelError::on_model` named it.
    pub given: Option<PathBuf>,
}

#[cfg(feature = "files")]
impl ModelError {
    /// The error of an adapter that was put on the model in `directory`. If that is not the one that the adapter names,
    /// both are in the message.
    #[must_use]
    pub fn on_model(mut self, directory: &Path) -> Self {
        if let Self::Adapter { path, bases, .. } = &mut self {
            let beside = |bases: &Bases| path.parent().map(|adapter| adapter.join(&bases.named));
            let is_same = |bases: &Bases| {
                let named = [Some(PathBuf::from(&bases.named)), beside(bases)];
                (named.iter().flatten()).any(|named| cadft_files::is_same(named, directory))
            };
            *bases = bases.take().filter(|bases| !is_same(bases));
            if let Some(bases) = bases {
                bases.given = Some(directory.to_owned());
            }
        }
        self
    }
}

impl ModelError {
    /// An I/O error of `path`.
    pub(crate) fn io(action: Action, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A single problem of a GGUF file.
    pub(crate) fn gguf(path: &Path, problem: impl Into<String>) -> Self {
        Self::Gguf {
            path: path.to_owned(),
            problems: vec![problem.into()],
        }
    }
}

impl Hint for ModelError {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        let hint: &str = match self {
            Self::NoWeights { hint: Some(hint), .. } => hint,
            Self::NotAModel { hint, .. } => hint,
            Self::Pickle(_) => {
                "write `adapter_model.safetensors` with PEFT: `PeftModel.from_pretrained(base, DIR).save_pretrained(OUT)`"
            }
            Self::Adapter {
                bases: Some(bases), ..
            } if bases.given.is_some() => {
                "put it on the model that it names; with the adapter as the only model, that one is taken"
            }
            Self::Unmerged(_) => "save the adapter, or merge it first",
            Self::DirectoryInUse { .. } => "choose a new directory, or move these files away",
            Self::F16Overflow { .. } => "save as bf16 or f32",
            Self::Generate { hints, .. } => return hints.iter().map(|&hint| hint.into()).collect(),
            _ => return Vec::new(),
        };
        vec![hint.into()]
    }

    /// A model that cannot be read is bad input. A failed write is not.
    fn is_input(&self) -> bool {
        !matches!(self, Self::Io { action, .. } if !action.is_read())
    }
}

fn config_place(path: Option<&Path>) -> String {
    path.map_or_else(
        || "the model configuration".to_owned(),
        |path| format!("`{}`", cadft_files::shown(path)),
    )
}

/// The line about the models of an adapter. With a single problem of an unknown model, another one is unlikely.
fn of_bases(problems: &[String], bases: Option<&Bases>) -> String {
    match bases {
        Some(Bases {
            named,
            given: Some(given),
        }) => format!(
            "\n  - it belongs to the model `{}`, and is put on `{}`",
            cut(named),
            cadft_files::shown(given)
        ),
        Some(Bases { named, given: None }) if problems.len() > 1 => {
            format!("\n  - it may belong to another model: it names `{}`", cut(named))
        }
        _ => String::new(),
    }
}

fn list(problems: &[String]) -> String {
    shortened(problems)
        .iter()
        .map(|problem| format!("\n  - {problem}"))
        .collect()
}

fn ticked(names: &[String]) -> String {
    let ticks: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    shortened(&ticks).join(", ")
}
