//! `cadft push`.

mod published;

use crate::args::PushArgs;
use crate::card::{self, Card, Record};
use crate::console::{Activity, counted, next, note};
use crate::hint::{self, UsageError};
use crate::model::is_adapter;
use crate::output;
use anyhow::Result;
use cadft_files::{shown, similar, visible_name};
use cadft_train::hub::push::{Content, Local, Package, Pushed, Target, Visibility, files_of};
use cadft_train::hub::{Hub, RepoKind, Spec};
use cadft_train::run_files::MODEL;
use cadft_train::{RunDirectory, Warning};
use indicatif::DecimalBytes;
use published::{Published, published};
use schemars::JsonSchema;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CARD: &str = "README.md";

/// What was sent, or would be.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    /// The model on the Hub.
    repository: String,
    /// The branch.
    revision: String,
    /// All files of the model.
    files: Vec<ReportedFile>,
    /// Whether `README.md` is generated.
    generated_card: bool,
    /// Local paths that are left out of what is sent, as `FILE: KEY`.
    removed_paths: Vec<String>,
    /// The commit that has the files; absent with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    /// The address of the model; absent with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The files that this push committed; absent with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<Vec<String>>,
    /// Bytes of those that the Hub did not have; absent with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_bytes: Option<u64>,
    /// Files that stay as they are at the Hub, because somebody changed them there; absent with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<Vec<String>>,
}

/// A file of the model.
#[derive(Serialize, JsonSchema)]
struct ReportedFile {
    /// Its name.
    name: String,
    /// Its size.
    bytes: u64,
    /// Its SHA-256.
    sha256: String,
}

pub(crate) fn run(args: &PushArgs) -> Result<()> {
    let spec = target(args)?;
    let source = Source::find(&args.source)?;
    let base_model = base_model(args, &source)?;
    let files = files_of(&source.model)?;
    let has_card = files.iter().any(|file| file.name == CARD);
    refuse_options_of_card(args, &source, has_card)?;
    let Published { mut files, removed } = published(files, base_model.as_deref())?;
    let card = (!has_card).then(|| {
        let card = Card {
            id: &spec.id,
            license: args.license.as_deref(),
            base_model: base_model.as_deref(),
            is_adapter: is_adapter(&source.model),
            record: source.record.as_ref(),
        };
        card.text()
    });
    if let Some(text) = &card {
        files.push(Local {
            name: CARD.to_owned(),
            content: Content::Bytes(text.clone().into_bytes()),
            stays: Some(|theirs| !card::is_untouched(theirs)),
        });
    }
    let package = {
        let _reading = Activity::begin("reading the files");
        Package::read(files)?
    };
    let report = Report::new(&spec, &package, card.is_some(), removed);
    if card.is_some() && args.license.is_none() {
        hint::warn(&Warning {
            message: "the card names no licence".to_owned(),
            hint: "give one with `--license ID`, such as that of the base model".to_owned(),
        });
    }
    if args.dry_run {
        report.show(args.json, card.as_deref())?;
        next::planned();
        return Ok(());
    }
    let pushed = send(args, &spec, &package)?;
    report.after(pushed).tell(args.json, has_card)
}

/// The model on the Hub that `REPO` and `--revision` name.
fn target(args: &PushArgs) -> Result<Spec> {
    let given = &args.repository;
    let name = match given.strip_prefix("hf://") {
        Some(_) => given.clone(),
        None => format!("hf://{given}"),
    };
    let wrong =
        |hint: &str| UsageError::new(format!("`{given}` is not the name of a model on the Hub"), hint);
    let mut spec = Spec::parse(&name)
        .ok()
        .flatten()
        .filter(|spec| spec.kind == RepoKind::Model)
        .ok_or_else(|| wrong("write `OWNER/NAME`, with your name on the Hub or that of an organisation"))?;
    if let Some(revision) = &args.revision {
        if spec.revision != "main" {
            return Err(wrong("name the branch once: with `--revision`, or after `@`").into());
        }
        let checked = Spec::parse(&format!("hf://{}@{}", spec.id, revision.replace('/', "%2F")));
        let checked = checked.ok().flatten();
        spec = checked.ok_or_else(|| {
            let message = format!("`--revision`: `{}` is not a branch", visible_name(revision));
            UsageError::new(message, "give the name of a branch")
        })?;
    }
    if args.message.trim().is_empty() {
        let hint = "say in a few words what is sent";
        return Err(UsageError::new("`--message` is empty", hint).into());
    }
    Ok(spec)
}

/// A directory to send, and what is known of its training.
struct Source {
    model: PathBuf,
    record: Option<Record>,
}

impl Source {
    /// A run stands for its final model. The directory of a run's model knows its run.
    fn find(given: &Path) -> Result<Self> {
        if !given.is_dir() {
            let hint = match similar(given) {
                Some(similar) => format!("did you mean `{}`?", shown(&similar)),
                None => "give the directory of a run, a model or an adapter".to_owned(),
            };
            return Err(UsageError::new(format!("`{}` is not a directory", shown(&given)), hint).into());
        }
        if RunDirectory::is_taken(given) {
            let model = given.join(MODEL);
            if !model.is_dir() {
                let message = format!("the run `{}` is not finished", shown(&given));
                let hint = format!("finish it with `cadft train --resume {}`", shown(&given));
                return Err(UsageError::new(message, hint).into());
            }
            let record = Some(Record::read(given)?);
            return Ok(Self { model, record });
        }
        let run = (given.file_name().is_some_and(|name| name == MODEL)).then(|| given.parent());
        let run = run.flatten().filter(|run| RunDirectory::is_taken(run));
        Ok(Self {
            model: given.to_owned(),
            record: run.map(Record::read).transpose()?,
        })
    }
}

/// The model that was trained: as given, or as the recipe or the adapter names it.
fn base_model(args: &PushArgs, source: &Source) -> Result<Option<String>> {
    if let Some(given) = &args.base_model {
        let name = given.strip_prefix("hf://").unwrap_or(given);
        let spec = Spec::parse(&format!("hf://{name}")).ok().flatten();
        let spec = spec.filter(|spec| spec.kind == RepoKind::Model).ok_or_else(|| {
            let message = format!(
                "`--base-model`: `{}` is not the name of a model",
                visible_name(given)
            );
            UsageError::new(message, "write `OWNER/NAME`")
        })?;
        return Ok(Some(spec.id));
    }
    if let Some(record) = &source.record {
        return Ok(record.base_model());
    }
    Ok(published::named_base(&source.model))
}

/// Refuses options of the generated card if the directory has one of its own.
fn refuse_options_of_card(args: &PushArgs, source: &Source, has_card: bool) -> Result<()> {
    if !has_card || args.license.is_none() {
        return Ok(());
    }
    let path = source.model.join(CARD);
    let message = format!("`--license`: `{}` is sent as it is", shown(&path));
    Err(UsageError::new(
        message,
        "write `license:` into it, or remove it to have a card generated",
    )
    .into())
}

fn send(args: &PushArgs, spec: &Spec, package: &Package) -> Result<Pushed> {
    let target = Target {
        spec: spec.clone(),
        visibility: if args.private {
            Visibility::Private
        } else {
            Visibility::OfOwner
        },
        message: args.message.clone(),
    };
    let total: u64 = package.files().iter().map(|file| file.size).sum();
    let activity = Activity::of("sending, MB", megabytes(total));
    let done = RefCell::new(BTreeMap::new());
    let watch = |name: &str, bytes: u64| {
        let mut done = done.borrow_mut();
        let _ = done.insert(name.to_owned(), bytes);
        activity.at(megabytes(done.values().sum()));
    };
    Ok(Hub::from_env()?.push(&target, package, &watch)?)
}

fn megabytes(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(1_000_000)).unwrap_or(usize::MAX)
}

impl Report {
    fn new(spec: &Spec, package: &Package, generated_card: bool, removed_paths: Vec<String>) -> Self {
        let file = |file: &cadft_train::hub::push::Packed| ReportedFile {
            name: file.name.clone(),
            bytes: file.size,
            sha256: file.sha256.clone(),
        };
        Self {
            repository: spec.id.clone(),
            revision: spec.revision.clone(),
            files: package.files().iter().map(file).collect(),
            generated_card,
            removed_paths,
            commit: None,
            address: None,
            committed: None,
            sent_bytes: None,
            kept: None,
        }
    }

    fn after(self, pushed: Pushed) -> Self {
        for warning in &pushed.warnings {
            hint::warn(&Warning {
                message: format!("the Hub says of `{CARD}`: {warning}"),
                hint: "the model is there all the same".to_owned(),
            });
        }
        Self {
            commit: Some(pushed.commit),
            address: Some(pushed.address),
            committed: Some(pushed.committed),
            sent_bytes: Some(pushed.sent.iter().map(|(_, bytes)| bytes).sum()),
            kept: Some(pushed.kept),
            ..self
        }
    }

    /// Prints what would be sent.
    fn show(&self, json: bool, card: Option<&str>) -> Result<()> {
        if json {
            return output::json_line(self);
        }
        let rows: Vec<_> = (self.files.iter())
            .map(|file| (file.name.as_str(), DecimalBytes(file.bytes).to_string()))
            .collect();
        output::table(&rows)?;
        let total = self.files.iter().map(|file| file.bytes).sum();
        note(format!(
            "{}, {}: would be sent to hf://{}, branch {}, as far as the Hub does not have them",
            counted(self.files.len(), "file"),
            DecimalBytes(total),
            self.repository,
            self.revision
        ));
        self.note_removed();
        match card {
            Some(text) => output::exact(&format!("\n{text}")),
            None => {
                note(format!("{CARD} of the directory is sent as it is"));
                Ok(())
            }
        }
    }

    fn note_removed(&self) {
        if !self.removed_paths.is_empty() {
            note(format!("local paths left out: {}", self.removed_paths.join(", ")));
        }
    }

    /// Prints what was done.
    fn tell(&self, json: bool, has_card: bool) -> Result<()> {
        if json {
            return output::json_line(self);
        }
        let committed = self.committed.as_ref().map_or(0, Vec::len);
        let commit = self.commit.as_deref().unwrap_or_default();
        note(match committed {
            0 => format!("everything was there already, in commit {commit}"),
            _ => format!(
                "{} of {} committed, {} sent, commit {commit}",
                committed,
                counted(self.files.len(), "file"),
                DecimalBytes(self.sent_bytes.unwrap_or(0))
            ),
        });
        self.note_removed();
        if has_card {
            note(format!("{CARD} of the directory was sent as it is"));
        }
        for name in self.kept.iter().flatten() {
            note(format!(
                "{name} stays as it is at the Hub, where somebody has changed it: remove it there to have it replaced"
            ));
        }
        output::line(self.address.as_deref().unwrap_or_default())?;
        next::pushed(&self.repository);
        Ok(())
    }
}
