//! The plan of a run, known before its first step.

mod ladder;
pub mod memory;
mod rows;

use crate::config::{AdapterSection, Recipe, steps_of};
use crate::device::Kernels;
use crate::rewrite::RewritePlan;
use crate::warning::Warning;
use cadft_core::{AnyObjective, Standardiser, Statistics};
use cadft_data::{Report, Samples, Source, SourceReport, TemplateTime, epoch_order};
use cadft_model::adapter::AdapterTargets;
use cadft_model::{AdapterConfig, ModelConfig, parameters::expected_parameters};
use cadft_step::batch::{Sampler, shapes};
pub use ladder::Rung;
use memory::{MemorySettings, OtherModel};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashSet;

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    /// Name of the objective.
    pub objective: String,
    /// Name of the objective of the first `start_steps` steps.
    pub start: Option<&'static str>,
    /// Steps of `start`.
    pub start_steps: usize,
    /// Training samples.
    pub samples: usize,
    /// Numbers of rows of each source that are kept, cut and left out.
    pub sources: Vec<PlannedSource>,
    /// Tokens of the training samples in one epoch.
    pub tokens: usize,
    /// Supervised tokens of the training samples in one epoch.
    pub supervised: usize,
    /// Tokens of the longest training sample.
    pub longest: usize,
    /// Evaluation samples.
    pub eval_samples: usize,
    /// The same for the sources of evaluation samples.
    pub eval_sources: Vec<PlannedSource>,
    /// Optimizer steps in an epoch.
    pub steps_per_epoch: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// When incompatible samples are rewritten; absent without `[rewrite]`.
    pub rewrite: Option<RewritePlan>,
    /// Parameters of the model, those of an adapter not counted.
    pub parameters: usize,
    /// Parameters that are trained.
    pub trainable: usize,
    /// Estimate of the peak memory of one rank, in MiB, without the additional memory for checkpoints.
    pub memory_mib: f64,
    /// What its weights take, in MiB.
    #[serde(skip)]
    pub(crate) weights_mib: f64,
    /// Upper bound of the additional memory while a checkpoint is written, in MiB; 0 without checkpoints.
    pub saving_mib: f64,
    /// Number of ranks, each of which needs this memory.
    pub ranks: usize,
    /// Settings with which the run takes less memory, from those that cost least to those that change most.
    #[serde(skip)]
    pub ladder: Vec<Rung>,
    /// The local time that the chat template shows; absent if it shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub template_time: Option<TemplateTime>,
    /// Warnings before the start.
    pub warnings: Vec<Warning>,
}

/// The number of ranks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RanksOfRun {
    /// On all machines.
    pub count: usize,
    /// On this machine.
    pub on_machine: usize,
}

impl RanksOfRun {
    /// Threads of one process. `threads(1)` is a run without other ranks.
    #[must_use]
    pub fn threads(count: usize) -> Self {
        Self {
            count,
            on_machine: count,
        }
    }
}

impl Plan {
    /// `adapter` is the trained adapter, if there is one; `other` the frozen model, if it is another; `kernels` are those of the
    /// device, with whether it computes in the memory of the host.
    pub(crate) fn new(
        recipe: &Recipe,
        (config, other): (&ModelConfig, Option<OtherModel>),
        adapter: Option<&(AdapterConfig, AdapterTargets)>,
        kernels: (Kernels, bool),
        ranks: usize,
        (train, eval): (&Samples, &Samples),
    ) -> Self {
        let samples = train.len();
        let report = train.report();
        let sampler = Sampler::new(samples, recipe.batch.global, recipe.data.order, recipe.run.seed);
        let steps_per_epoch = sampler.steps_per_epoch();
        let epochs = recipe.schedule.epochs.unwrap_or(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be above 0"
        )]
        let steps = recipe
            .schedule
            .steps
            .unwrap_or_else(|| ((epochs * steps_per_epoch as f64).ceil() as usize).max(1));
        let start = recipe.loss.start.as_ref();
        let start_steps = start.map_or(0, |_| steps_of(recipe.loss.start_until.unwrap_or(0.1), steps));
        let parameters: usize = expected_parameters(config)
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        let trained = adapter.map(|(config, targets)| (config, targets));
        let settings = MemorySettings::of(recipe, kernels, trained, other, ranks, (train, eval, steps));
        let memory_mib = memory::training_mib(config, &settings);
        let weights_mib = memory::weights_mib(config, &settings);
        let saves = recipe.checkpoint.every > 0 || recipe.checkpoint.every_minutes > 0.0;
        let saving = |settings: &MemorySettings<'_>| {
            let most = memory::saving_mib(config, settings);
            if saves { most } else { 0.0 }
        };
        let saving_mib = saving(&settings);
        let estimate = |other_recipe: &Recipe| {
            let section = other_recipe.adapter.as_ref().filter(|_| trained.is_none());
            let new = match section.map(AdapterSection::config) {
                Some(adapter) => Some((adapter.clone(), adapter.targets(config).ok()?)),
                None => None,
            };
            let trained = new
                .as_ref()
                .map_or(trained, |(config, targets)| Some((config, targets)));
            let settings =
                MemorySettings::of(other_recipe, kernels, trained, other, ranks, (train, eval, steps));
            Some([memory::training_mib(config, &settings), saving(&settings)])
        };
        let ladder = ladder::ladder(recipe, memory_mib, (kernels.1, ranks), estimate);
        let trainable = trained.map_or(parameters, |(_, targets)| targets.trainable);
        let mut plan = Self {
            objective: recipe.objective.name().to_owned(),
            start: start.map(AnyObjective::name),
            start_steps,
            samples,
            sources: sources(&recipe.data.train, report),
            tokens: report.tokens,
            supervised: report.supervised,
            longest: report.longest,
            eval_samples: eval.len(),
            eval_sources: sources(&recipe.data.eval, eval.report()),
            steps_per_epoch,
            steps,
            warmup_steps: steps_of(recipe.schedule.warmup, steps),
            rewrite: (recipe.rewrite.as_ref())
                .map(|section| RewritePlan::new(section, samples, steps_per_epoch, steps)),
            parameters,
            trainable,
            memory_mib,
            weights_mib,
            saving_mib,
            ranks,
            ladder,
            template_time: None,
            warnings: vec![],
        };
        plan.warnings = plan.warn(recipe, train, eval);
        plan.warnings.extend(Warning::of_model(config));
        plan
    }

    fn warn(&self, recipe: &Recipe, train: &Samples, eval: &Samples) -> Vec<Warning> {
        let mut warnings = rows::warnings(recipe, train.report(), eval.report());
        let global = recipe.batch.global.min(self.samples);
        let exact = (recipe.objective.compatibility()).is_some_and(|c| c.statistics == Statistics::Exact);
        if exact && global < 16 {
            let largest = Standardiser::largest_z(global);
            warnings.push(Warning::new(
                format!(
                    "compatibility is standardised over {global} samples: no z-score can exceed {largest:.2}, no weight \
                     fall below {:.2}",
                    recipe.objective.compatibility().map_or(1.0, |c| c.weight(largest)),
                ),
                "raise `batch.global` (memory depends on `batch.micro` only), or set `statistics = \"running\"`",
            ));
        }
        warnings.extend(self.rewrite.as_ref().and_then(RewritePlan::warning));
        let overlap = overlap(train, eval);
        if overlap > 0 {
            warnings.push(Warning::new(
                format!(
                    "{overlap} of {} evaluation samples are training samples too",
                    eval.len()
                ),
                "remove them from `data.eval` or `data.train`: their scores say nothing about new data",
            ));
        }
        warnings
    }
}

/// The rows of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedSource {
    /// As the recipe names it.
    pub path: String,
    /// The counts.
    #[serde(flatten)]
    pub report: SourceReport,
}

fn sources(sources: &[Source], report: &Report) -> Vec<PlannedSource> {
    (sources.iter().zip(&report.sources))
        .map(|(source, &report)| PlannedSource {
            path: source.path.clone(),
            report,
        })
        .collect()
}

/// The number of evaluation samples that are also training samples.
fn overlap(train: &Samples, eval: &Samples) -> usize {
    let eval: Vec<Vec<u32>> = eval.iter().map(|sample| sample.token_ids).collect();
    let mut unseen: HashSet<&[u32]> = eval.iter().map(Vec::as_slice).collect();
    if unseen.is_empty() {
        return 0;
    }
    for sample in train.iter() {
        unseen.remove(sample.token_ids.as_slice());
    }
    (eval.iter())
        .filter(|tokens| !unseen.contains(tokens.as_slice()))
        .count()
}

/// The size of the largest forward pass of a run.
struct LargestPass {
    /// Number of tokens in the pass, padding included.
    tokens: usize,
    /// Number of tokens in the longest sample of the run.
    longest: usize,
    /// Whether any step has several passes.
    accumulates: bool,
}

/// Examines the steps of the first epoch, up to the end of the run.
fn largest_pass(recipe: &Recipe, train: &Samples, steps: usize) -> LargestPass {
    // In the order of the file, so that it is read once, sequentially.
    let tokens: Vec<usize> = (0..train.len()).map(|sample| train.tokens_of(sample)).collect();
    let order = epoch_order(train.len(), recipe.data.order, recipe.run.seed, 0);
    let mut largest = LargestPass {
        tokens: 0,
        longest: 0,
        accumulates: false,
    };
    for batch in order.chunks(recipe.batch.global).take(steps) {
        let lengths: Vec<usize> = batch.iter().map(|&sample| tokens[sample]).collect();
        let shapes = shapes(&lengths, &(&recipe.batch).into());
        let tokens = shapes.iter().map(|[rows, columns]| rows * columns).max();
        largest.tokens = largest.tokens.max(tokens.unwrap_or(0));
        largest.longest = largest.longest.max(lengths.into_iter().max().unwrap_or(0));
        largest.accumulates |= shapes.len() > 1;
    }
    largest
}
