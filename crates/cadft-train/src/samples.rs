//! Records of single samples for `samples.jsonl`: on some steps, evenly distributed over the run, the score and weight
//! of every sample in the global batch.
//!
//! The steps that are recorded depend only on the length of the run, so that a resumed run records the same ones.

use cadft_step::StepOutcome;
use schemars::JsonSchema;
use serde::Serialize;

/// Largest number of samples recorded for one step. From a larger global batch, evenly distributed ones are recorded.
const MOST_SAMPLES: usize = 256;

/// The samples of one step: a line of `samples.jsonl`. The lists have one entry a sample, in the order of the batch.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StepSamples {
    /// Counted from 1.
    pub step: usize,
    /// Ids of the rows.
    pub ids: Vec<String>,
    /// Positions of the samples in the data set: ids need not be unique.
    pub samples: Vec<usize>,
    /// `c_i`, mean negative log-likelihood over the sample's supervised tokens, nats (CADFT-1); four digits.
    pub nll: Vec<f64>,
    /// `ĉ_i`, standardised over the global batch (CADFT-2); four digits.
    pub z: Vec<f64>,
    /// `w_i` (CADFT-3), without the data's weight; four digits.
    pub weight: Vec<f64>,
    /// The mean gate of the sample's tokens; four digits.
    pub gate: Vec<f64>,
    /// Supervised tokens.
    pub supervised: Vec<usize>,
}

/// Whether a step is recorded in a run of `total` steps that records `records` steps.
///
/// The first and the last step are recorded, if `records` is at least 2.
#[must_use]
pub fn is_recorded(step: usize, total: usize, records: usize) -> bool {
    if records == 0 || step == 0 || step > total {
        return false;
    }
    if records >= total {
        return true;
    }
    // Record k = 0 … records−1 is at step 1 + ⌊k·(total−1)/(records−1)⌋.
    let (gaps, span) = ((records - 1).max(1), total - 1);
    let k = ((step - 1) * gaps).div_ceil(span);
    k < records && 1 + k * span / gaps == step
}

impl StepSamples {
    /// The record of a step with these samples; `supervised` are their tokens.
    pub(crate) fn new(
        step: usize,
        (ids, samples, supervised): (&[String], &[usize], &[usize]),
        outcome: &StepOutcome,
    ) -> Self {
        let stride = ids.len().div_ceil(MOST_SAMPLES).max(1);
        let thin = |values: &[f64]| values.iter().step_by(stride).map(|&v| four_digits(v)).collect();
        Self {
            step,
            ids: ids.iter().step_by(stride).cloned().collect(),
            samples: samples.iter().step_by(stride).copied().collect(),
            nll: thin(&outcome.scores),
            z: thin(&outcome.z),
            weight: thin(&outcome.weights),
            gate: thin(&outcome.gates),
            supervised: supervised.iter().step_by(stride).copied().collect(),
        }
    }
}

/// The value rounded to four significant digits, which is enough for a chart and saves two thirds of the bytes.
fn four_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_spread_evenly_from_the_first_step_to_the_last() {
        for total in 1..300 {
            for records in [0, 1, 2, 3, 7, 50, 200, 400] {
                let steps: Vec<_> = (1..=total).filter(|&s| is_recorded(s, total, records)).collect();
                assert_eq!(steps.len(), records.min(total), "{records} of {total}: {steps:?}");
                assert_eq!(steps.first(), (records > 0).then_some(&1));
                assert!(records < 2 || steps.last() == Some(&total), "{steps:?}");
                let gaps: Vec<_> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
                let bounds = gaps.iter().max().zip(gaps.iter().min());
                assert!(bounds.is_none_or(|(max, min)| max - min <= 1), "{steps:?}");
            }
        }
    }

    #[test]
    fn values_keep_four_digits() {
        assert_eq!(four_digits(1.234_56), 1.235);
        assert_eq!(four_digits(-0.000_123_456), -0.000_123_5);
        assert_eq!(four_digits(0.0), 0.0);
        assert!(four_digits(f64::NAN).is_nan());
    }

    #[test]
    fn a_large_batch_is_thinned_evenly() {
        let ids: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let outcome = StepOutcome {
            loss: 0.0,
            nll_sum: 0.0,
            gate_sum: 0.0,
            divergence_sum: None,
            standardiser: values.iter().copied().collect(),
            scores: values.clone(),
            z: values.clone(),
            gates: values.clone(),
            weights: values,
            grad_norm: 0.0,
            clip_factor: 1.0,
        };
        let samples: Vec<usize> = (2000..3000).collect();
        let record = StepSamples::new(3, (&ids, &samples, &samples), &outcome);
        assert_eq!(record.ids.len(), 250);
        let second = (record.ids[1].as_str(), record.samples[1], record.nll[1]);
        assert_eq!(second, ("4", 2004, 4.0));
    }
}
