//! A round: choose → generate → accept. It only decides; the caller replaces targets and writes the log.

use super::draft::{Draft, Drafted, alone, same_answer, tokens};
use super::guide::Guide;
use super::record::{Decision, Record, RoundRecord, SampleRecord, Side};
use super::summary::RoundSummary;
use super::target::Target;
use crate::config::{GENERATED_AT_A_TIME, RewriteSection};
use crate::error::TrainError;
use crate::evaluate::score_samples_on;
use crate::prepare::Prepared;
use crate::room;
use crate::sharing::shared;
use burn::module::Module;
use cadft_core::reduction::mean;
use cadft_core::rewrite::{Acceptance, Candidate, Rejection, Tracker, chance, round_seed};
use cadft_data::{Example, Tokenizer};
use cadft_model::{
    CausalLm, GenerateOptions, Sampling,
    generate::{Request, generate},
};
use cadft_step::Ranks;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Generates and judges the candidates of a round.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    /// The ranks that share the work.
    pub ranks: &'a Ranks,
    /// The model that rewrites.
    pub model: &'a CausalLm,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The settings of rewriting.
    pub section: &'a RewriteSection,
    /// Largest number of tokens in a sample.
    pub max_length: usize,
    /// The seed of all decisions.
    pub seed: u64,
    /// Number of samples in a forward pass when candidates are scored.
    pub micro: usize,
    /// Set when the round should end at once.
    pub stop: &'a AtomicBool,
    /// Where prompts with hints are made, if wrong answers are to be written once more.
    pub guide: Option<Guide<'a>>,
}

/// The decisions of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Its samples, the most incompatible first.
    pub samples: Vec<SampleRecord>,
    /// The samples to replace, with their new versions.
    pub replaced: Vec<(usize, Example)>,
    /// The counts.
    pub summary: RoundSummary,
}

impl Round {
    /// The records of the round for the log; `sha256` is the digest of the data set after the round.
    pub(super) fn records(self, step: usize, sha256: String) -> impl Iterator<Item = Record> {
        let end = RoundRecord {
            step,
            chosen: self.summary.chosen,
            drawn: self.summary.drawn,
            replaced: self.replaced.len(),
            sha256,
        };
        (self.samples.into_iter().map(Record::Sample)).chain([Record::Round(end)])
    }
}

impl<'a> Generator<'a> {
    /// The generator of a run.
    pub(super) fn of_run(
        ranks: &'a Ranks,
        prepared: &'a Prepared,
        section: &'a RewriteSection,
        model: &'a CausalLm,
        stop: &'a AtomicBool,
    ) -> Self {
        let recipe = &prepared.recipe;
        Self {
            ranks,
            model,
            tokenizer: &prepared.tokenizer,
            section,
            max_length: recipe
                .data
                .max_length
                .min(prepared.config.max_position_embeddings),
            seed: recipe.run.seed,
            micro: recipe.batch.micro,
            stop,
            guide: Guide::of(prepared, section),
        }
    }

    /// Decides a round; `None` if it was stopped. `example` returns the present form of a sample.
    ///
    /// # Errors
    /// Errors of the model or the tokenizer.
    pub fn round(
        &self,
        step: usize,
        tracker: &Tracker,
        example: &dyn Fn(usize) -> Example,
    ) -> Result<Option<Round>, TrainError> {
        let (mut samples, mut drafts) = (vec![], vec![]);
        for sample in self.section.selection().choose(tracker) {
            let example = example(sample);
            let target = self.target(step, sample, &example);
            let mut record = record(step, sample, &example, tracker);
            match target {
                Ok(target) => drafts.push(Draft {
                    place: samples.len(),
                    example,
                    target,
                    hinted: None,
                    generated: None,
                }),
                Err(reason) => record.reason = Some(reason),
            }
            samples.push(record);
        }
        if !self.generate(step, &samples, &mut drafts)? {
            return Ok(None);
        }
        let mut replaced = self.accept(&mut samples, &drafts)?;
        let (drawn, mut generated) = (drafts.len(), tokens(&drafts));
        if let Some(guide) = self.guide {
            let mut guided = self.guided(guide, &samples, drafts)?;
            if !self.generate(step, &samples, &mut guided)? {
                return Ok(None);
            }
            replaced.extend(self.accept(&mut samples, &guided)?);
            generated += tokens(&guided);
        }
        let summary = summary(&samples, drawn, generated);
        Ok(Some(Round {
            samples,
            replaced,
            summary,
        }))
    }

    /// The target to replace in a sample, or the reason why it is not replaced.
    fn target(&self, step: usize, sample: usize, example: &Example) -> Result<Target, Rejection> {
        if chance(self.seed, step, sample) >= self.section.probability {
            return Err(Rejection::NotDrawn);
        }
        let target = Target::of(example, self.tokenizer.stop_token_ids()).ok_or(Rejection::NotRewritable)?;
        // There must be room for at least one token and the stop token.
        if target.tokens.start + 2 > self.max_length {
            return Err(Rejection::PromptTooLong);
        }
        Ok(target)
    }

    /// Drafts with hints, of those whose candidate does not reach the right answer.
    fn guided(
        &self,
        guide: Guide<'_>,
        samples: &[SampleRecord],
        drafts: Vec<Draft>,
    ) -> Result<Vec<Draft>, TrainError> {
        let is_wrong = |draft: &Draft| match &samples[draft.place] {
            SampleRecord {
                old: Some(old),
                new: Some(new),
                ..
            } => !same_answer(&draft.example, &old.text, &new.text),
            _ => true,
        };
        let wrong: Vec<Draft> = drafts.into_iter().filter(is_wrong).collect();
        let targets: Vec<_> = wrong
            .iter()
            .map(|draft| (&draft.example, &draft.target))
            .collect();
        let prompts = guide.prompts(self.section, &targets)?;
        let hinted = wrong.into_iter().zip(prompts).map(|(draft, hinted)| Draft {
            hinted,
            generated: None,
            ..draft
        });
        let has_room = |draft: &Draft| {
            let prompt = draft.hinted.as_ref();
            prompt.is_some_and(|prompt| prompt.len() + 2 <= self.max_length)
        };
        Ok(hinted.filter(has_room).collect())
    }

    /// Generates the candidates; false if it was stopped. A candidate depends only on the seed of the round and on its
    /// own sample.
    fn generate(
        &self,
        step: usize,
        samples: &[SampleRecord],
        drafts: &mut [Draft],
    ) -> Result<bool, TrainError> {
        if drafts.is_empty() {
            return Ok(true);
        }
        let seed = round_seed(self.seed, step);
        let options = GenerateOptions {
            max_new_tokens: self.section.max_new_tokens,
            max_positions: self.max_length,
            stop_token_ids: self.tokenizer.stop_token_ids().to_vec(),
            sampling: Sampling::nucleus(self.section.temperature, self.section.top_p, seed),
            batch: GENERATED_AT_A_TIME,
        };
        let requests: Vec<Request> = (drafts.iter().enumerate())
            .filter(|(place, _)| self.ranks.has(*place))
            .map(|(_, draft)| {
                let sample = samples[draft.place].sample as u64;
                let prompt = draft.target.prompt(&draft.example);
                Request {
                    prompt: draft.hinted.as_deref().unwrap_or(prompt).to_vec(),
                    // A second answer is drawn from a stream of its own.
                    stream: if draft.hinted.is_some() { !sample } else { sample },
                }
            })
            .collect();
        let stopped = || self.stop.load(Ordering::Relaxed);
        let mut on_token = |_: usize, _: u32| {
            if stopped() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        if self.ranks.any(stopped()) {
            return Ok(false);
        }
        let options = room::fitting(self.model, &requests, &options)?;
        let generated = generate(self.model, &requests, &options, &mut on_token)?;
        if self.ranks.any(stopped()) {
            return Ok(false);
        }
        let own: Vec<Drafted> = generated.into_iter().map(Drafted::from).collect();
        let all = shared(self.ranks, drafts.len(), own);
        for (draft, generated) in drafts.iter_mut().zip(all) {
            draft.generated = Some((generated, seed));
        }
        Ok(true)
    }

    /// Judges the candidates: completes the records, and returns the samples to replace.
    fn accept(
        &self,
        samples: &mut [SampleRecord],
        drafts: &[Draft],
    ) -> Result<Vec<(usize, Example)>, TrainError> {
        let acceptance = self.section.acceptance(self.max_length);
        let scores = self.scores(drafts);
        let mut replaced = vec![];
        for (draft, [old_score, new_score]) in drafts.iter().zip(scores) {
            let Some((generated, seed)) = &draft.generated else {
                continue;
            };
            let prompt = draft.target.prompt(&draft.example);
            let side = |ids: &[u32], score: f64| -> Result<Side, TrainError> {
                Ok(Side {
                    text: Target::text(prompt, ids, self.tokenizer)?,
                    score: score.is_finite().then_some(score),
                    token_ids: ids.to_vec(),
                })
            };
            let old = side(&draft.example.token_ids[draft.target.tokens.clone()], old_score)?;
            let new = side(&generated.token_ids, new_score)?;
            let candidate = Candidate {
                stopped: generated.stopped,
                empty: new.text.trim().is_empty(),
                length: prompt.len() + generated.token_ids.len(),
                score: new_score,
                original_score: old_score,
                same_answer: same_answer(&draft.example, &old.text, &new.text),
            };
            let acceptance = Acceptance {
                require_lower_score: acceptance.require_lower_score || draft.hinted.is_some(),
                ..acceptance
            };
            let verdict = judge(&acceptance, &candidate);
            let record = &mut samples[draft.place];
            if draft.hinted.is_some() && verdict.is_some() {
                // What it answered by itself stays on record.
                continue;
            }
            record.guided = draft.hinted.is_some();
            if verdict.is_none() {
                replaced.push((
                    record.sample,
                    draft.target.replaced(&draft.example, &generated.token_ids),
                ));
                record.decision = Decision::Replaced;
            }
            record.reason = verdict;
            (record.seed, record.old, record.new) = (Some(*seed), Some(old), Some(new));
        }
        Ok(replaced)
    }

    /// For each draft, the scores of its target and of its candidate (CADFT-1), computed together.
    fn scores(&self, drafts: &[Draft]) -> Vec<[f64; 2]> {
        if drafts.is_empty() {
            return vec![];
        }
        let sides: Vec<Example> = (drafts.iter())
            .flat_map(|draft| {
                let candidate = draft
                    .generated
                    .as_ref()
                    .map_or(&[][..], |(generated, _)| &generated.token_ids);
                let original = &draft.example.token_ids[draft.target.tokens.clone()];
                [original, candidate].map(|answer| alone(draft.target.prompt(&draft.example), answer))
            })
            .collect();
        let scores: Vec<f64> = score_samples_on(self.ranks.clone(), &self.model.valid(), &sides, self.micro)
            .map(|score| score.nll)
            .collect();
        scores.as_chunks().0.to_vec()
    }
}

fn judge(acceptance: &Acceptance, candidate: &Candidate) -> Option<Rejection> {
    acceptance.judge(candidate).err()
}

/// The record of a sample that keeps its target.
fn record(step: usize, sample: usize, example: &Example, tracker: &Tracker) -> SampleRecord {
    let state = tracker.sample(sample);
    SampleRecord {
        step,
        sample,
        id: example.id.clone(),
        decision: Decision::Kept,
        reason: None,
        average: tracker.average(sample).unwrap_or(0.0),
        last_z: state.last().unwrap_or(0.0),
        observations: state.observations(),
        seed: None,
        guided: false,
        old: None,
        new: None,
    }
}

fn summary(samples: &[SampleRecord], drawn: usize, tokens: usize) -> RoundSummary {
    let mut summary = RoundSummary {
        chosen: samples.len(),
        drawn,
        tokens,
        ..RoundSummary::default()
    };
    for reason in samples.iter().filter_map(|record| record.reason) {
        *summary.kept.entry(reason).or_default() += 1;
    }
    let replaced: Vec<_> = samples
        .iter()
        .filter(|record| record.decision == Decision::Replaced)
        .collect();
    summary.replaced = replaced.len();
    let mean_of = |side: fn(&SampleRecord) -> Option<&Side>| {
        let scores: Vec<f64> = replaced.iter().filter_map(|record| side(record)?.score).collect();
        (!scores.is_empty()).then(|| mean(scores.iter().sum(), scores.len()))
    };
    summary.old_score = mean_of(|record| record.old.as_ref());
    summary.new_score = mean_of(|record| record.new.as_ref());
    summary
}
