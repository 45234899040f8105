//! Checks of a recipe that no single value shows.

use super::Recipe;

impl Recipe {
    /// Reports every value that cannot be trained with, under its dotted key.
    pub(super) fn check(&self, report: &mut dyn FnMut(&str, String)) {
        let mut require = |holds: bool, key: &str, message: &str| {
            if !holds {
                report(key, message.to_owned());
            }
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;

        require(
            !self.model.path.is_empty(),
            "model.path",
            "name the model's directory",
        );
        require(
            !self.data.train.is_empty(),
            "data.train",
            "name at least one training file",
        );
        require(self.data.max_length >= 2, "data.max-length", "must be at least 2");
        require(self.batch.global >= 1, "batch.global", "must be at least 1");
        require(self.batch.micro >= 1, "batch.micro", "must be at least 1");

        let optimizer = &self.optimizer;
        require(
            positive(optimizer.lr),
            "optimizer.lr",
            "must be finite and above 0",
        );
        require(
            optimizer.betas.iter().all(|beta| (0.0..1.0).contains(beta)),
            "optimizer.betas",
            "must be at least 0 and below 1",
        );
        require(
            not_negative(optimizer.weight_decay),
            "optimizer.weight-decay",
            "must be finite and at least 0",
        );
        require(
            positive(optimizer.eps),
            "optimizer.eps",
            "must be finite and above 0",
        );
        require(
            positive(optimizer.clip),
            "optimizer.clip",
            "must be finite and above 0",
        );

        let schedule = &self.schedule;
        require(
            not_negative(schedule.warmup),
            "schedule.warmup",
            "must be finite and at least 0",
        );
        require(
            schedule.epochs.is_none_or(positive),
            "schedule.epochs",
            "must be finite and above 0",
        );
        require(schedule.steps != Some(0), "schedule.steps", "must be at least 1");
        require(
            schedule.epochs.is_none() || schedule.steps.is_none(),
            "schedule.steps",
            "give `epochs` or `steps`, not both",
        );

        let loss = &self.loss;
        require(
            loss.start_until.is_none_or(positive),
            "loss.start-until",
            "must be finite and above 0",
        );
        require(
            loss.start.is_some() || loss.start_until.is_none(),
            "loss.start-until",
            "has no effect without `loss.start`",
        );
        require(
            self.evaluate.max_new_tokens >= 1,
            "evaluate.max-new-tokens",
            "must be at least 1",
        );
        require(
            self.evaluate.answers == 0 || !self.data.eval.is_empty(),
            "evaluate.answers",
            "needs `data.eval`",
        );
        require(
            self.checkpoint.every == 0 || self.checkpoint.keep >= 1,
            "checkpoint.keep",
            "must be at least 1",
        );
    }
}
