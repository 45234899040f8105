//! The schedule of a run's rounds, known before its first step.

use crate::config::RewriteSection;
use crate::warning::Warning;
use schemars::JsonSchema;
use serde::Serialize;

/// When incompatible samples will be rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RewritePlan {
    /// The steps after which rounds take place.
    pub rounds: Vec<usize>,
    /// Largest number of samples that one round considers.
    pub samples: usize,
    /// Rounds before any sample was seen often enough: they choose none.
    pub idle_rounds: usize,
    /// `T_warm` in steps.
    pub warmup_steps: usize,
    /// `K` in steps.
    pub every_steps: usize,
    /// The first step after which a sample was seen often enough.
    observed_after: usize,
    total_steps: usize,
}

impl RewritePlan {
    pub(crate) fn new(
        section: &RewriteSection,
        samples: usize,
        steps_per_epoch: usize,
        total_steps: usize,
    ) -> Self {
        let schedule = section.schedule(total_steps);
        let rounds: Vec<usize> = schedule.rounds().collect();
        // Each epoch shows every sample once, so some sample is seen for the `n`-th time in the first step of epoch
        // `n`.
        let epochs = usize::try_from(section.min_observations)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        let observed_after = epochs.saturating_mul(steps_per_epoch).saturating_add(1);
        Self {
            samples: section.selection().most(samples),
            idle_rounds: rounds.iter().filter(|&&step| step < observed_after).count(),
            rounds,
            warmup_steps: schedule.warmup_steps,
            every_steps: schedule.every_steps,
            observed_after,
            total_steps,
        }
    }

    /// A warning if nothing will be rewritten.
    pub(crate) fn warning(&self) -> Option<Warning> {
        let Self {
            warmup_steps,
            every_steps,
            total_steps,
            ..
        } = self;
        if self.rounds.is_empty() {
            return Some(Warning::new(
                format!(
                    "nothing will be rewritten: no multiple of {every_steps} steps (`rewrite.every`) lies between step \
                     {warmup_steps} (`rewrite.warmup`) and the end of the run, step {total_steps}"
                ),
                "give `rewrite.warmup` and `rewrite.every` as fractions of the run, such as 0.5 and 0.15, or train longer",
            ));
        }
        let last = self.rounds.last().copied().unwrap_or_default();
        (self.idle_rounds == self.rounds.len()).then(|| {
            Warning::new(
                format!(
                    "nothing will be rewritten: the last round is after step {last}, and no sample is seen often enough \
                     (`rewrite.min-observations`) before step {}",
                    self.observed_after
                ),
                "train for more epochs, or set `rewrite.min-observations = 1`",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(warmup: f64, every: f64, steps_per_epoch: usize, total: usize) -> RewritePlan {
        let section = RewriteSection {
            warmup,
            every,
            ..RewriteSection::default()
        };
        RewritePlan::new(&section, 1000, steps_per_epoch, total)
    }

    #[test]
    fn the_papers_absolute_numbers_are_warned_about_in_a_short_run() {
        let warning = plan(3000.0, 1000.0, 391, 391).warning().unwrap();
        assert!(
            warning.message.contains("3000") && warning.message.contains("391"),
            "{warning:?}"
        );
    }

    #[test]
    fn one_epoch_sees_no_sample_twice() {
        let one_epoch = plan(0.5, 0.15, 100, 100);
        assert_eq!((one_epoch.rounds.len(), one_epoch.idle_rounds), (3, 3));
        assert!(one_epoch.warning().unwrap().hint.contains("min-observations"));
    }

    #[test]
    fn a_run_in_which_rounds_find_samples_is_not_warned_about() {
        let two_epochs = plan(0.5, 0.15, 50, 100);
        assert_eq!(
            (two_epochs.rounds.as_slice(), two_epochs.idle_rounds),
            (&[60, 75, 90][..], 0)
        );
        assert_eq!(two_epochs.warning(), None);
    }
}
