//! The errors of this crate.

use crate::available::MemoryLimit;
use crate::checkpoint::CheckpointError;
use crate::exhausted::ExhaustedRun;
use cadft_files::Hint;
use std::borrow::Cow;
use std::path::PathBuf;

/// One problem in a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Line in the recipe; `None` if the problem comes from an override, or if a key is missing.
    pub line: Option<usize>,
    /// The override that caused the problem, as typed: `KEY=VALUE`.
    pub set: Option<String>,
    /// Dotted key; empty if the text is not valid TOML.
    pub key: String,
    /// The problem.
    pub message: String,
    /// What else helps: what the key means, or what to do instead.
    pub hint: Option<String>,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A recipe has errors.
    #[error("{}", config_report(.name, .problems))]
    Config {
        /// The name of the recipe.
        name: String,
        /// All problems.
        problems: Vec<ConfigProblem>,
    },
    /// Training or evaluation data cannot be used.
    #[error(transparent)]
    Data(#[from] cadft_data::DataError),
    /// The model cannot be read or written.
    #[error(transparent)]
    Model(#[from] cadft_model::ModelError),
    /// The method of extracting answers is invalid.
    #[error(transparent)]
    Pattern(#[from] crate::evaluate::BadPattern),
    /// A name on the Hugging Face Hub cannot be resolved.
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// A device cannot be used by this program.
    #[error("{message}")]
    Device {
        /// The problem.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Two inputs, such as data and model, do not fit each other.
    #[error("{message}")]
    Mismatch {
        /// The mismatch, with its place.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", cadft_files::shown(.path))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is not enough memory for the run.
    #[error(
        "the run needs about {needed:.0} MiB of memory, and {available:.0} MiB are available {limit}: it would {}",
        end_under(*.limit)
    )]
    Memory {
        /// The estimate, in MiB.
        needed: f64,
        /// What the system has, in MiB.
        available: f64,
        /// What limits it.
        limit: MemoryLimit,
        /// A setting that would reduce the estimate enough.
        way: Option<String>,
    },
    /// The device ran out of memory.
    #[error("{0}")]
    Exhausted(Box<ExhaustedRun>),
    /// A run cannot be continued as asked.
    #[error("{message}")]
    Resume {
        /// The obstacle.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Another process uses the run directory.
    #[error("{}: another process is using this run directory", cadft_files::shown(.0))]
    Locked(PathBuf),
    /// The run directory belongs to another run.
    #[error("{}: the directory already holds a run", cadft_files::shown(.0))]
    RunExists(PathBuf),
    /// The directory is not empty and holds no run.
    #[error("{}: the directory is not empty and holds no run: {}", cadft_files::shown(.path), cadft_files::listed(.entries))]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// Its entries, sorted.
        entries: Vec<String>,
    },
    /// The run has finished and its model is written, but another file could not be written.
    #[error("the trained model is in `{}`, but something else could not be written: {source}", cadft_files::shown(.model))]
    Incomplete {
        /// The model.
        model: PathBuf,
        /// The error of that file.
        source: Box<TrainError>,
    },
    /// A loss or gradient was not finite. The model was not updated with it.
    #[error("step {step}: the {what} is not finite, as in {in_a_row} steps in a row; the model was not updated\nsamples: {}", .samples.join(", "))]
    NotFinite {
        /// The step that failed.
        step: usize,
        /// Number of consecutive failed steps, including this one.
        in_a_row: usize,
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Ids of the samples in the global batch whose score is not finite; all ids if every score is finite.
        samples: Vec<String>,
    },
}

impl Hint for TrainError {
    fn hints(&self) -> Vec<Cow<'_, str>> {
        let hint = match self {
            Self::Config { problems, .. } => return config_hints(problems),
            Self::Memory { way: Some(way), .. } => return vec![way.into()],
            Self::Memory { way: None, .. } => {
                "lower `batch.micro` or `data.max-length`, train an adapter (`--adapter lora`) or a smaller model, or try it with `guard.memory = \"warn\"`"
            }
            Self::Locked(_) => "wait for it, or choose another directory with `--out DIR`",
            Self::RunExists(_) => "continue it with `--resume`, or choose another directory with `--out DIR`",
            Self::Occupied { .. } => "choose a directory that is new or empty with `--out DIR`",
            Self::NotFinite { .. } => {
                "lower `optimizer.lr`, or look at these samples with `cadft data inspect`"
            }
            Self::Device { hint, .. } | Self::Mismatch { hint, .. } | Self::Resume { hint, .. } => {
                return hint.iter().map(Cow::from).collect();
            }
            Self::Data(error) => return error.hints(),
            Self::Model(error) => return error.hints(),
            Self::Hub(error) => return error.hints(),
            Self::Checkpoint(error) => return error.hints(),
            Self::Incomplete { source, .. } => return source.hints(),
            Self::Exhausted(run) => return run.hints().map(Cow::from).collect(),
            Self::Pattern(_) | Self::Io { .. } => return vec![],
        };
        vec![hint.into()]
    }

    fn is_input(&self) -> bool {
        match self {
            Self::Io { .. } | Self::NotFinite { .. } | Self::Exhausted(_) | Self::Incomplete { .. } => false,
            Self::Data(error) => error.is_input(),
            Self::Model(error) => error.is_input(),
            Self::Checkpoint(error) => error.is_input(),
            Self::Hub(error) => error.is_input(),
            _ => true,
        }
    }
}

impl TrainError {
    pub(crate) fn mismatch(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Mismatch {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    pub(crate) fn resume(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Resume {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// How a run ends that needs more than a limit.
fn end_under(limit: MemoryLimit) -> &'static str {
    match limit {
        MemoryLimit::Addresses | MemoryLimit::Device(_) => "fail",
        MemoryLimit::Machine | MemoryLimit::Group => "be killed",
    }
}

/// Hints of a report.
const MOST_HINTS: usize = 3;

/// What a recipe's problems say beside their messages, each once; that all keys can be shown if none says anything.
fn config_hints(problems: &[ConfigProblem]) -> Vec<Cow<'_, str>> {
    let mut hints: Vec<Cow<'_, str>> = vec![];
    for hint in problems.iter().filter_map(|problem| problem.hint.as_deref()) {
        if !hints.iter().any(|known| known == hint) {
            hints.push(hint.into());
        }
    }
    if hints.is_empty() {
        hints.push("`cadft recipe show NAME --resolved` prints a recipe with every key".into());
    }
    hints.truncate(MOST_HINTS);
    hints
}

fn config_report(name: &str, problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| {
            let ConfigProblem {
                line,
                set,
                key,
                message,
                hint: _,
            } = problem;
            let place = match (set, line) {
                (Some(set), _) => format!("`--set {set}`"),
                (None, Some(line)) => format!("{name}:{line}"),
                (None, None) => name.to_owned(),
            };
            if key.is_empty() {
                format!("{place}: {message}")
            } else {
                format!("{place}: `{key}`: {message}")
            }
        })
        .collect();
    lines.join("\n")
}
