//! Checks of a recipe beyond the types of single values.

use super::{BestBy, FORMAT_VERSION, Recipe, RewriteSection};
use cadft_data::{Mask, StoppingStrategy};
use cadft_model::decoder::Recompute;
use cadft_step::ranks::ZeroStage;

/// One requirement: whether it holds, the dotted key, and what to do.
pub(super) type Requirement = (bool, &'static str, &'static str);

const POSITIVE: &str = "must be finite and above 0";
const NOT_NEGATIVE: &str = "must be finite and at least 0";
const AT_LEAST_ONE: &str = "must be at least 1";

impl Recipe {
    /// Reports every value that training does not allow, under its dotted key.
    pub(super) fn check(&self, report: &mut dyn FnMut(&str, String)) {
        let rewrite = self.rewrite.as_ref().map(RewriteSection::requirements);
        let requirements = (self.model_and_data().into_iter())
            .chain(self.training())
            .chain(self.of_shards())
            .chain(self.kind_requirements())
            .chain(self.checkpoints_and_guards())
            .chain(self.adapter())
            .chain(rewrite.unwrap_or_default());
        for (_, key, message) in requirements.filter(|(holds, ..)| !holds) {
            report(key, message.to_owned());
        }
    }

    /// Whether training allows every value.
    pub(crate) fn is_valid(&self) -> bool {
        let mut is_valid = true;
        self.check(&mut |_, _| is_valid = false);
        is_valid
    }

    fn model_and_data(&self) -> Vec<Requirement> {
        let Self {
            model,
            data,
            batch,
            evaluate,
            ..
        } = self;
        let answers = evaluate.answers == 0 || !data.eval.is_empty();
        let is_mixed = data.train.iter().any(|source| source.weight.is_some());
        let strategy = is_mixed || data.stopping_strategy == StoppingStrategy::default();
        let weights = data.train.iter().filter_map(|source| source.weight);
        let samples = evaluate.samples == 1 || evaluate.temperature > 0.0;
        let mass = evaluate.top_p > 0.0 && evaluate.top_p <= 1.0;
        vec![
            (
                self.format_version == FORMAT_VERSION,
                "format-version",
                "must be 1: other versions belong to other releases of cadft",
            ),
            (!model.path.is_empty(), "model.path", "name the model's directory"),
            (
                !data.train.is_empty(),
                "data.train",
                "name at least one training file",
            ),
            (
                weights.into_iter().all(positive),
                "data.train",
                "a `weight` must be finite and above 0",
            ),
            (
                data.eval.iter().all(|source| source.weight.is_none()),
                "data.eval",
                "a `weight` mixes training data; evaluation reads every row once",
            ),
            (
                strategy,
                "data.stopping-strategy",
                "has no effect without a `weight` in `data.train`",
            ),
            (data.max_length >= 2, "data.max-length", "must be at least 2"),
            (
                self.rewrite.is_none() || data.mask != Mask::All,
                "data.mask",
                "rewriting needs prompts, and `all` trains them too; use `assistant`, `last-turn` or `completion`",
            ),
            (batch.global >= 1, "batch.global", AT_LEAST_ONE),
            (batch.micro >= 1, "batch.micro", AT_LEAST_ONE),
            (batch.max_tokens != Some(0), "batch.max-tokens", AT_LEAST_ONE),
            (batch.shards != Some(0), "batch.shards", AT_LEAST_ONE),
            (
                batch.zero_stage == ZeroStage::One || self.model.recompute == Recompute::Blocks,
                "batch.zero-stage",
                "stage 2 gives gradients away block by block: set `model.recompute = \"blocks\"`",
            ),
            (
                evaluate.max_new_tokens >= 1,
                "evaluate.max-new-tokens",
                AT_LEAST_ONE,
            ),
            (answers, "evaluate.answers", "needs `data.eval`"),
            (evaluate.samples >= 1, "evaluate.samples", AT_LEAST_ONE),
            (
                samples,
                "evaluate.samples",
                "greedy answers are all the same: set `evaluate.temperature` above 0",
            ),
            (
                not_negative(evaluate.temperature),
                "evaluate.temperature",
                NOT_NEGATIVE,
            ),
            (mass, "evaluate.top-p", "must be above 0 and at most 1"),
        ]
    }

    fn checkpoints_and_guards(&self) -> Vec<Requirement> {
        let Self {
            checkpoint,
            guard,
            evaluate,
            ..
        } = self;
        let answered = checkpoint.best != BestBy::Accuracy || evaluate.answers > 0;
        vec![
            (checkpoint.keep >= 1, "checkpoint.keep", AT_LEAST_ONE),
            (
                not_negative(checkpoint.every_minutes),
                "checkpoint.every-minutes",
                NOT_NEGATIVE,
            ),
            (answered, "checkpoint.best", "`accuracy` needs `evaluate.answers`"),
            (guard.non_finite >= 1, "guard.non-finite", AT_LEAST_ONE),
            (
                guard.spike == 0.0 || (guard.spike.is_finite() && guard.spike > 1.0),
                "guard.spike",
                "must be 0, or finite and above 1",
            ),
        ]
    }

    fn adapter(&self) -> Vec<Requirement> {
        let Some(adapter) = &self.adapter else {
            return vec![];
        };
        let dropout = (0.0..1.0).contains(&adapter.dropout);
        vec![
            (adapter.rank >= 1, "adapter.rank", AT_LEAST_ONE),
            (positive(adapter.alpha), "adapter.alpha", POSITIVE),
            (dropout, "adapter.dropout", "must be at least 0 and below 1"),
        ]
    }

    fn training(&self) -> Vec<Requirement> {
        let Self {
            optimizer,
            schedule,
            loss,
            ..
        } = self;
        let betas = optimizer.betas.iter().all(|beta| (0.0..1.0).contains(beta));
        let one_length = schedule.epochs.is_none() || schedule.steps.is_none();
        let used = loss.start.is_some() || loss.start_until.is_none();
        let is_live = self.rewrite.is_none() || self.frozen().is_none() || self.reference.live;
        vec![
            (
                is_live,
                "reference.live",
                "rewriting makes samples that the frozen model has not seen: set it to `true`",
            ),
            (
                self.starts_alone(),
                "loss.start",
                "an objective that looks at tokens under a frozen model cannot be the first of two",
            ),
            (positive(optimizer.lr), "optimizer.lr", POSITIVE),
            (betas, "optimizer.betas", "must be at least 0 and below 1"),
            (
                not_negative(optimizer.weight_decay),
                "optimizer.weight-decay",
                NOT_NEGATIVE,
            ),
            (positive(optimizer.eps), "optimizer.eps", POSITIVE),
            (
                positive(optimizer.loraplus_lr_ratio),
                "optimizer.loraplus-lr-ratio",
                POSITIVE,
            ),
            (
                self.adapter.is_some() || optimizer.loraplus_lr_ratio == 1.0,
                "optimizer.loraplus-lr-ratio",
                "is of the matrices of an adapter, and there is none: add `[adapter]`",
            ),
            (positive(optimizer.clip), "optimizer.clip", POSITIVE),
            (not_negative(schedule.warmup), "schedule.warmup", NOT_NEGATIVE),
            (schedule.epochs.is_none_or(positive), "schedule.epochs", POSITIVE),
            (schedule.steps != Some(0), "schedule.steps", AT_LEAST_ONE),
            (one_length, "schedule.steps", "give `epochs` or `steps`, not both"),
            (
                loss.start_until.is_none_or(positive),
                "loss.start-until",
                POSITIVE,
            ),
            (used, "loss.start-until", "has no effect without `loss.start`"),
        ]
    }
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}
