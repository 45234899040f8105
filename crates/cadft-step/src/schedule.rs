//! The learning rate of each step.
//!
//! ```text
//! k ≤ W:  lr · k/W                               linear warm-up, k = 1 … total
//! k > W:  lr · ½(1 + cos(π·(k−W)/(T−W+1)))       cosine
//!         lr · (1 − (k−W)/(T−W+1))               linear
//!         lr                                     constant
//! ```
//!
//! Ours: steps are counted so that neither the first nor the last step has a learning rate of 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Half a cosine to zero.
    #[default]
    Cosine,
    /// A line to zero.
    Linear,
    /// No decay.
    Constant,
}

/// A number of steps from `value`: a fraction of `total` if it is below 1, else a number of steps. `value` must be
/// finite and at least 0.
#[must_use]
pub fn steps_of(value: f64, total: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and at least 0"
    )]
    let steps = if value < 1.0 {
        (value * total as f64).ceil()
    } else {
        value.round()
    } as usize;
    steps.min(total)
}

/// The learning rate as a function of the step.
///
/// ```
/// use cadft_step::{Schedule, ScheduleKind};
///
/// let schedule = Schedule {
///     lr: 1.0,
///     kind: ScheduleKind::Linear,
///     warmup_steps: 2,
///     total_steps: 5,
/// };
/// let rates: Vec<f64> = (1..=5).map(|step| schedule.at(step)).collect();
/// assert_eq!(rates, [0.5, 1.0, 0.75, 0.5, 0.25]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Peak learning rate.
    pub lr: f64,
    /// Shape after the warm-up.
    pub kind: ScheduleKind,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Steps of the run.
    pub total_steps: usize,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 1.
    #[must_use]
    pub fn at(&self, step: usize) -> f64 {
        let Self {
            lr,
            kind,
            warmup_steps,
            total_steps,
        } = *self;
        if step <= warmup_steps {
            return lr * step as f64 / warmup_steps as f64;
        }
        let progress = (step - warmup_steps) as f64 / (total_steps - warmup_steps + 1) as f64;
        match kind {
            ScheduleKind::Cosine => lr * 0.5 * (1.0 + (PI * progress).cos()),
            ScheduleKind::Linear => lr * (1.0 - progress),
            ScheduleKind::Constant => lr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind, warmup: f64, total: usize) -> Vec<f64> {
        let schedule = Schedule {
            lr: 1.0,
            kind,
            warmup_steps: steps_of(warmup, total),
            total_steps: total,
        };
        (1..=total).map(|step| schedule.at(step)).collect()
    }

    #[test]
    fn warmup_is_linear_and_reaches_the_peak() {
        assert_eq!(
            schedule(ScheduleKind::Constant, 4.0, 6),
            [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
        );
        assert_eq!(schedule(ScheduleKind::Constant, 0.0, 2), [1.0, 1.0]);
    }

    #[test]
    fn every_step_trains_and_the_rate_falls_after_warmup() {
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear] {
            for total in [1, 2, 7, 40] {
                let rates = schedule(kind, 0.1, total);
                assert!(rates.iter().all(|&lr| lr > 0.0 && lr <= 1.0), "{rates:?}");
                let warmup = steps_of(0.1, total);
                assert!(
                    rates[warmup..].windows(2).all(|pair| pair[1] < pair[0]),
                    "{rates:?}"
                );
            }
        }
    }

    #[test]
    fn linear_decay_has_equal_steps() {
        assert_eq!(schedule(ScheduleKind::Linear, 0.0, 3), [0.75, 0.5, 0.25]);
    }
}
