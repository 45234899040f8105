//! After which steps a round of rewriting takes place.

/// `t ≥ T_warm and t mod K = 0` (CADFT-5), for steps `t = 1 … total`.
///
/// A round takes place between step `t` and step `t + 1`, with the model after step `t`. Ours: there is no round after
/// the last step, because nothing would be trained on its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundSchedule {
    /// `T_warm`: the first step after which a round may take place.
    pub warmup_steps: usize,
    /// `K`: rounds take place only after multiples of it; at least 1.
    pub every_steps: usize,
    /// Number of steps of the run.
    pub total_steps: usize,
}

impl RoundSchedule {
    /// Whether a round takes place after step `step`; never after `step = 0`, before training.
    #[must_use]
    pub fn fires_after(&self, step: usize) -> bool {
        step > 0
            && step >= self.warmup_steps
            && step < self.total_steps
            && step.is_multiple_of(self.every_steps.max(1))
    }

    /// Every step after which a round takes place, in order.
    ///
    /// # Examples
    /// ```
    /// use cadft_core::rewrite::RoundSchedule;
    ///
    /// let schedule = RoundSchedule {
    ///     warmup_steps: 100,
    ///     every_steps: 50,
    ///     total_steps: 250,
    /// };
    /// assert_eq!(schedule.rounds().collect::<Vec<_>>(), [100, 150, 200]);
    /// ```
    pub fn rounds(&self) -> impl Iterator<Item = usize> {
        let every = self.every_steps.max(1);
        let first = self.warmup_steps.div_ceil(every).max(1) * every;
        (first..self.total_steps).step_by(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rounds(warmup_steps: usize, every_steps: usize, total_steps: usize) -> Vec<usize> {
        let schedule = RoundSchedule {
            warmup_steps,
            every_steps,
            total_steps,
        };
        schedule.rounds().collect()
    }

    #[test]
    fn the_papers_numbers_fire_from_step_3000_on() {
        assert_eq!(rounds(3000, 1000, 6000), [3000, 4000, 5000]);
    }

    #[test]
    fn the_papers_numbers_never_fire_in_an_epoch_of_391_steps() {
        assert!(rounds(3000, 1000, 391).is_empty());
    }

    #[test]
    fn rounds_are_multiples_of_k_not_of_k_after_the_warm_up() {
        assert_eq!(rounds(50, 15, 100), [60, 75, 90]);
    }

    #[test]
    fn nothing_is_rewritten_before_training_or_after_its_last_step() {
        assert_eq!(rounds(0, 1, 4), [1, 2, 3]);
        assert!(rounds(0, 5, 5).is_empty());
    }

    proptest! {
        #[test]
        fn no_round_is_before_the_warm_up_and_all_are_exact_multiples(
            warmup in 0usize..200, every in 1usize..60, total in 0usize..300,
        ) {
            let schedule = RoundSchedule { warmup_steps: warmup, every_steps: every, total_steps: total };
            let expected: Vec<usize> =
                (1..total).filter(|step| *step >= warmup && step % every == 0).collect();
            prop_assert_eq!(schedule.rounds().collect::<Vec<_>>(), expected.clone());
            let fired: Vec<usize> = (0..total + 5).filter(|&step| schedule.fires_after(step)).collect();
            prop_assert_eq!(fired, expected);
        }
    }
}
