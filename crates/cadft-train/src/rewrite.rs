//! Rewriting in a run: the tracker, the rounds, and the record of their decisions (CADFT-5).
//!
//! ```text
//! plan.rs    when rounds will take place
//! round.rs    choose → generate → accept           target.rs  which tokens of a sample are replaced, and by what
//! draft.rs    a sample of a round and its candidate   guide.rs    prompts that show a solution
//! record.rs   one line of rewrites.jsonl           log.rs     the file: append-only, synchronised once a round
//! digest.rs   SHA-256 of a data set with rewrites
//! replay.rs   a log, applied to a data set         export.rs  the data set with rewrites, as a file
//! offline.rs  one round without training           compatibility.rs  the moving averages of a run, as a file
//! ```
//!
//! The records are the state: the targets of all samples follow from them alone. So a resumed run, a replayed log and
//! an exported data set agree.

mod compatibility;
mod digest;
mod draft;
mod export;
mod guide;
mod log;
mod offline;
mod plan;
mod record;
mod replay;
mod round;
mod summary;
mod target;

pub use compatibility::{SampleCompatibility, read_compatibility};
pub use digest::digest;
pub use export::{ExportSummary, export};
pub use guide::Guide;
pub use log::{RewriteLog, read_log};
pub use offline::{Offline, OfflineRound, rewrite_offline};
pub use plan::RewritePlan;
pub use record::{
    Decision, FORMAT_VERSION, Header, Record, RoundRecord, SampleRecord, Side, UndoRecord, is_undone,
};
pub use replay::{Replay, replay};
pub use round::{Generator, Round};
pub use summary::RoundSummary;
pub use target::Target;

use crate::config::RewriteSection;
use crate::error::TrainError;
use crate::prepare::Prepared;
use crate::run_files::{COMPATIBILITY, REWRITES};
use crate::warning::Warning;
use cadft_core::rewrite::{RoundSchedule, Tracker};
use cadft_data::{Example, Samples};
use cadft_model::CausalLm;
use cadft_step::Ranks;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The state of rewriting in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewritingState {
    /// The moving averages.
    pub tracker: Tracker,
    /// The step after which the last round took place; 0 before the first.
    pub last_round: usize,
    /// All lines of the log, shared with a checkpoint that is being written.
    pub records: Arc<Vec<Record>>,
}

/// The rewriting of a run. Without `[rewrite]` in the recipe, it only tracks the compatibility of samples.
#[derive(Debug)]
pub struct Rewriting {
    section: Option<(RewriteSection, RoundSchedule)>,
    state: RewritingState,
    /// Samples whose target has been replaced.
    rewritten: BTreeMap<usize, Example>,
    directory: PathBuf,
    ranks: Ranks,
}

impl Rewriting {
    /// The state at the beginning of a run in `directory`.
    #[must_use]
    pub fn new(ranks: &Ranks, prepared: &Prepared, directory: &Path) -> Self {
        let section = prepared.recipe.rewrite.clone();
        let decay = section.clone().unwrap_or_default().decay;
        Self {
            section: section.map(|section| {
                let schedule = section.schedule(prepared.plan.steps);
                (section, schedule)
            }),
            state: RewritingState {
                tracker: Tracker::new(prepared.train.len(), decay),
                last_round: 0,
                records: Arc::default(),
            },
            rewritten: BTreeMap::new(),
            directory: directory.to_owned(),
            ranks: ranks.clone(),
        }
    }

    /// Continues from a checkpoint. The log is restored to its state at the checkpoint: later rounds are removed (they
    /// will take place again), and missing lines are written again. Rewrites that were undone since then stay undone.
    ///
    /// # Errors
    /// A checkpoint or a log of other data, and file errors.
    pub fn resume(
        ranks: &Ranks,
        prepared: &Prepared,
        directory: &Path,
        mut state: RewritingState,
    ) -> Result<Self, TrainError> {
        let fresh = Self::new(ranks, prepared, directory);
        let (found, expected) = (state.tracker.len(), prepared.train.len());
        if found != expected {
            return Err(TrainError::mismatch(
                format!("the checkpoint follows {found} samples, the data has {expected}"),
                "resume with the data of the run",
            ));
        }
        let path = directory.join(REWRITES);
        for undone in log::undone_since(&path, &state.records)? {
            state.tracker.restored(undone.sample);
            Arc::make_mut(&mut state.records).push(Record::Undo(undone));
        }
        // All ranks must have read the log before the first rank writes it.
        let _ = ranks.any(false);
        if ranks.is_first() {
            log::restore(&path, &state.records)?;
        }
        let rewritten = replay(
            &state.records,
            &prepared.train,
            prepared.tokenizer.stop_token_ids(),
        )?
        .examples;
        Ok(Self {
            state,
            rewritten,
            ..fresh
        })
    }

    /// The state to store in a checkpoint.
    #[must_use]
    pub fn state(&self) -> &RewritingState {
        &self.state
    }

    /// The present form of a sample; `source` is the data as read.
    ///
    /// # Panics
    /// If there is no sample of this index.
    #[must_use]
    pub fn example(&self, sample: usize, source: &Samples) -> Example {
        let rewritten = self.rewritten.get(&sample).cloned();
        rewritten.unwrap_or_else(|| source.get(sample))
    }

    /// Records the standardised scores `z` of a step's samples.
    pub fn observe(&mut self, samples: &[usize], z: &[f64]) {
        for (&sample, &z) in samples.iter().zip(z) {
            self.state.tracker.observe(sample, z);
        }
    }

    /// Whether a round is due after step `step`, before the next step.
    #[must_use]
    pub fn is_due(&self, step: usize) -> bool {
        let fires = self
            .section
            .as_ref()
            .is_some_and(|(_, schedule)| schedule.fires_after(step));
        fires && self.state.last_round != step
    }

    /// Runs the round after step `step`, if it is due. Returns its summary, and a warning if there is one.
    ///
    /// A round that is interrupted by `stop` changes nothing and stays due. If a round cannot be recorded, nothing is
    /// replaced, and the run continues.
    ///
    /// # Errors
    /// Errors of the model or the tokenizer.
    pub fn round_after(
        &mut self,
        step: usize,
        prepared: &Prepared,
        model: &CausalLm,
        stop: &AtomicBool,
    ) -> Result<Option<(RoundSummary, Option<Warning>)>, TrainError> {
        let Some((section, _)) = self.section.as_ref().filter(|_| self.is_due(step)) else {
            return Ok(None);
        };
        let started = Instant::now();
        let generator = Generator::of_run(&self.ranks, prepared, section, model, stop);
        let example = |sample| self.example(sample, &prepared.train);
        let Some(round) = generator.round(step, &self.state.tracker, &example)? else {
            return Ok(None);
        };
        self.state.last_round = step;
        let mut summary = round.summary.clone();
        let unwritten = self.take_in(step, round, prepared);
        if unwritten.is_some() {
            summary = RoundSummary {
                replaced: 0,
                old_score: None,
                new_score: None,
                ..summary
            };
        }
        summary.elapsed_secs = started.elapsed().as_secs_f64();
        let warning = unwritten.or_else(|| summary.warning(step));
        Ok(Some((summary, warning)))
    }

    /// Records a round, then applies its replacements. Returns a warning if it cannot be recorded.
    fn take_in(&mut self, step: usize, round: Round, prepared: &Prepared) -> Option<Warning> {
        let mut rewritten = self.rewritten.clone();
        rewritten.extend(round.replaced.iter().cloned());
        let replaced: Vec<usize> = round.replaced.iter().map(|(sample, _)| *sample).collect();
        let mut records = vec![];
        if self.state.records.is_empty() {
            let Prepared {
                recipe, tokenizer, ..
            } = prepared;
            let (data, seed) = ((recipe.model.path.as_str(), &recipe.data), recipe.run.seed);
            let header = Header::new(data, seed, &prepared.train, tokenizer.template_time());
            records.push(Record::Header(header));
        }
        records.extend(round.records(step, digest(&prepared.train, &rewritten)));
        let path = self.directory.join(REWRITES);
        let written = if self.ranks.is_first() {
            RewriteLog::open(&path).and_then(|mut log| log.append(&records))
        } else {
            Ok(())
        };
        if self.ranks.any(written.is_err()) {
            let error = written.err().map_or_else(String::new, |error| error.to_string());
            return Some(Warning::new(
                format!(
                    "the round after step {step} could not be written down and nothing was replaced: {error}"
                ),
                "free some space: what is not on record is not rewritten, and training goes on without it",
            ));
        }
        for sample in replaced {
            self.state.tracker.rewritten(sample);
        }
        self.rewritten = rewritten;
        Arc::make_mut(&mut self.state.records).extend(records);
        None
    }

    /// Writes the moving averages of all samples to the run directory.
    ///
    /// # Errors
    /// File errors.
    pub fn finish(&self, source: &Samples) -> Result<(), TrainError> {
        if !self.ranks.is_first() {
            return Ok(());
        }
        compatibility::write(&self.directory.join(COMPATIBILITY), source, &self.state.tracker)
    }
}
