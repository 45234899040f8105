//! Curves with a limited number of points: for each bucket of steps, the mean, the least and the largest value.

use super::noise;
use super::run::Run;
use super::text::rounded;
use crate::noise::Recall;
use serde::Serialize;
use serde_json::Value;

/// Number of points of a curve on a page with few runs.
const POINTS: usize = 500;
/// Number of points of all curves in one chart.
const POINTS_OF_ALL: usize = 3000;

/// The charts of step metrics: key, title and explanation.
const CHARTS: [(&str, &str, &str); 12] = [
    (
        "nll",
        "Negative log-likelihood",
        "nats a token, before the update; ringed: evaluation",
    ),
    (
        "loss",
        "Objective",
        "as normalised; comparable within an objective only",
    ),
    (
        "grad_norm",
        "Gradient norm",
        "of all gradients together, before clipping",
    ),
    ("lr", "Learning rate", ""),
    ("tokens_per_sec", "Tokens a second", "padding not counted"),
    ("ess", "Effective sample size", "(Σw)²/Σw² of the global batch"),
    (
        "mean_weight",
        "Mean sample weight",
        "0.762 for normally distributed scores at β = 1",
    ),
    (
        "mean_gate",
        "Mean token gate",
        "below 0.2 little of the gradient is left",
    ),
    (
        "mean_kl",
        "Divergence from the reference model",
        "nats a token; with `asft`",
    ),
    (
        "mu",
        "Mean score",
        "nats a token; what scores are standardised with",
    ),
    ("sigma", "Deviation of the scores", "nats a token"),
    ("peak_rss_mib", "Peak memory", "MiB"),
];

/// One chart with a curve for each run.
#[derive(Serialize)]
pub(super) struct Chart {
    key: &'static str,
    title: &'static str,
    note: &'static str,
    curves: Vec<Curve>,
}

/// The curve of a run; `mean`, `min` and `max` have one entry for each entry of `steps`.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Curve {
    run: usize,
    name: String,
    /// The last step of each bucket.
    steps: Vec<u64>,
    /// `None` if no value of the bucket is finite.
    mean: Vec<Option<f64>>,
    /// Empty if every bucket holds one step.
    min: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    /// Single points, for evaluations: step and value.
    marks: Vec<(u64, f64)>,
    /// The first step whose value is not finite.
    not_finite_from: Option<u64>,
}

type OfNoise = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Recall) -> Option<f64>,
);

/// What is drawn of recorded steps where noise was planted: key, title, what it is, and the value.
const NOISE: [OfNoise; 3] = [
    (
        "noise_auc",
        "Planted noise: AUC",
        "chance that a planted sample has less influence than another; 0.5 is none",
        |recall| recall.auc,
    ),
    (
        "noise_recall",
        "Planted noise: recall",
        "share of the planted samples among as many with the least influence",
        |recall| recall.recall,
    ),
    (
        "noise_token_recall",
        "Planted noise: recall of tokens",
        "the same, each sample counted by its trained tokens",
        |recall| recall.token_recall,
    ),
];

/// Every chart for which any run has values.
pub(super) fn charts(runs: &[Run]) -> Vec<Chart> {
    let points = POINTS.min(POINTS_OF_ALL / runs.len().max(1));
    let found: Vec<Vec<(u64, Recall)>> = runs.iter().map(noise::of).collect();
    let of_noise = NOISE.iter().map(|&(key, title, note, value)| Chart {
        key,
        title,
        note,
        curves: (runs.iter().zip(&found).enumerate())
            .filter_map(|(index, (run, found))| {
                let values: Vec<_> = (found.iter())
                    .filter_map(|(step, recall)| Some((*step, Some(value(recall)?))))
                    .collect();
                let curve = Curve {
                    run: index,
                    name: run.name.clone(),
                    ..thin(&values, points)
                };
                (!values.is_empty()).then_some(curve)
            })
            .collect(),
    });
    let charts = CHARTS.iter().map(|&(key, title, note)| Chart {
        key,
        title,
        note,
        curves: runs
            .iter()
            .enumerate()
            .filter_map(|(index, run)| curve(index, run, key, points))
            .collect(),
    });
    charts
        .chain(of_noise)
        .filter(|chart| !chart.curves.is_empty())
        .collect()
}

fn curve(index: usize, run: &Run, key: &str, points: usize) -> Option<Curve> {
    let values: Vec<(u64, Option<f64>)> = run
        .steps
        .iter()
        .filter_map(|line| Some((line.get("step")?.as_u64()?, line.get(key)?.as_f64())))
        .collect();
    let mut curve = thin(&values, points);
    curve.run = index;
    curve.name.clone_from(&run.name);
    if key == "nll" {
        let mark = |event: &serde_json::Map<String, Value>| {
            Some((event.get("step")?.as_u64()?, rounded(event.get("nll")?.as_f64()?)))
        };
        let marks: Vec<_> = run.events_named("evaluated").filter_map(mark).collect();
        let stride = marks.len().div_ceil(points).max(1);
        curve.marks = marks.into_iter().step_by(stride).collect();
    }
    let is_drawn = !curve.marks.is_empty() || curve.mean.iter().any(Option::is_some);
    is_drawn.then_some(curve)
}

/// The values in at most `points` buckets with equal numbers of steps.
fn thin(values: &[(u64, Option<f64>)], points: usize) -> Curve {
    let size = values.len().div_ceil(points.max(1)).max(1);
    let mut curve = Curve {
        not_finite_from: values.iter().find(|(_, v)| v.is_none()).map(|(step, _)| *step),
        ..Curve::default()
    };
    for bucket in values.chunks(size) {
        let finite: Vec<f64> = bucket.iter().filter_map(|(_, value)| *value).collect();
        let count = finite.len() as f64;
        let mean = (!finite.is_empty()).then(|| finite.iter().map(|value| value / count).sum::<f64>());
        curve.steps.push(bucket.last().map_or(0, |(step, _)| *step));
        curve.mean.push(mean.map(rounded));
        if size > 1 {
            curve
                .min
                .push(finite.iter().copied().reduce(f64::min).map(rounded));
            curve
                .max
                .push(finite.iter().copied().reduce(f64::max).map(rounded));
        }
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_curve_is_kept_as_it_is() {
        let curve = thin(&[(1, Some(0.5)), (2, None), (3, Some(0.25))], 500);
        assert_eq!(curve.steps, [1, 2, 3]);
        assert_eq!(curve.mean, [Some(0.5), None, Some(0.25)]);
        assert_eq!((curve.min.len(), curve.not_finite_from), (0, Some(2)));
    }

    #[test]
    fn a_long_curve_is_thinned_and_no_spike_is_lost() {
        let mut values: Vec<_> = (1..=20_000).map(|step| (step, Some(1.0))).collect();
        values[12_345].1 = Some(900.0);
        values[19_999].1 = None;
        let curve = thin(&values, 500);
        assert_eq!(curve.steps.len(), 500);
        assert_eq!(curve.steps.last(), Some(&20_000));
        assert!(curve.max.contains(&Some(900.0)) && curve.min.iter().all(|v| *v == Some(1.0)));
        assert_eq!(curve.not_finite_from, Some(20_000));
    }

    #[test]
    fn nothing_is_a_curve_of_nothing() {
        assert_eq!(thin(&[], 500), Curve::default());
    }
}
