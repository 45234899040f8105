//! Pictures of single samples over a run: a histogram of weights over time, a scatter plot of z against NLL, and a list
//! of the least compatible samples.

use super::run::Run;
use super::text::rounded;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Number of bins of the weight, from 0 to 1.
const BINS: usize = 20;
/// Number of columns of the histogram over time.
const COLUMNS: usize = 80;
/// Number of points in the scatter plots of all runs together.
const POINTS_OF_ALL: usize = 6000;
/// Number of points in one scatter plot.
const POINTS: usize = 1500;
/// Number of samples in the list.
const LISTED: usize = 12;

/// The pictures of one run.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    /// The last step of each column.
    steps: Vec<u64>,
    /// For each column, the share of the samples in each bin of the weight; the last bin holds the weight 1.
    weights: Vec<Vec<f64>>,
    /// Points: NLL, z, weight, and the position in the run, from 0 to 1.
    points: Vec<[f64; 4]>,
}

/// A sample with low compatibility.
#[derive(Debug, Serialize)]
pub(super) struct Incompatible {
    pub(super) id: String,
    /// The question and the answer of the sample, if its data still exist.
    pub(super) question: String,
    pub(super) answer: String,
    seen: usize,
    mean_z: String,
    mean_nll: String,
    /// Under the run's own objective; empty if it was not seen under that.
    last_weight: String,
}

/// A sample as one step saw it.
pub(super) struct Seen<'a> {
    pub(super) id: &'a str,
    /// Its index in the data set; absent in runs of earlier versions.
    sample: Option<u64>,
    pub(super) nll: f64,
    pub(super) z: f64,
    pub(super) weight: f64,
    /// Mean gate and supervised tokens; runs of earlier versions did not record them.
    pub(super) gate: Option<f64>,
    pub(super) supervised: Option<u64>,
}

/// The samples of a record whose values are finite.
pub(super) fn samples_of(record: &Map<String, Value>) -> impl Iterator<Item = Seen<'_>> {
    let list = |key: &str| {
        record
            .get(key)
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice)
    };
    let (ids, nll, z, weight) = (list("ids"), list("nll"), list("z"), list("weight"));
    let (samples, gate, supervised) = (list("samples"), list("gate"), list("supervised"));
    (ids.iter().enumerate())
        .zip(nll)
        .zip(z.iter().zip(weight))
        .filter_map(|(((number, id), nll), (z, weight))| {
            Some(Seen {
                id: id.as_str()?,
                sample: samples.get(number).and_then(Value::as_u64),
                nll: nll.as_f64()?,
                z: z.as_f64()?,
                weight: weight.as_f64()?,
                gate: gate.get(number).and_then(Value::as_f64),
                supervised: supervised.get(number).and_then(Value::as_u64),
            })
        })
}

/// The pictures of a run, which is one of `runs`; `None` if it has no records.
pub(super) fn picture(run: &Run, runs: usize) -> Option<Picture> {
    let records: Vec<(u64, &Map<String, Value>)> = run
        .samples
        .iter()
        .filter_map(|record| Some((record.get("step")?.as_u64()?, record)))
        .collect();
    let last = records.last()?.0.max(1);
    let (mut steps, mut weights) = (vec![], vec![]);
    for column in records.chunks(records.len().div_ceil(COLUMNS)) {
        steps.push(column.last().map_or(0, |(step, _)| *step));
        weights.push(histogram(
            column.iter().flat_map(|(_, record)| samples_of(record)),
        ));
    }
    let total: usize = records.iter().map(|(_, record)| samples_of(record).count()).sum();
    let stride = total.div_ceil(POINTS.min(POINTS_OF_ALL / runs.max(1))).max(1);
    let points = records
        .iter()
        .flat_map(|(step, record)| samples_of(record).map(move |seen| (*step, seen)))
        .step_by(stride)
        .map(|(step, seen)| [seen.nll, seen.z, seen.weight, step as f64 / last as f64].map(rounded))
        .collect();
    Some(Picture {
        steps,
        weights,
        points,
    })
}

/// The share of samples in each bin of the weight.
fn histogram<'a>(samples: impl Iterator<Item = Seen<'a>>) -> Vec<f64> {
    let (mut counts, mut total) = (vec![0.0; BINS], 0.0);
    for seen in samples {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a weight is at least 0, and the bin is bounded"
        )]
        let bin = ((seen.weight * BINS as f64) as usize).min(BINS - 1);
        counts[bin] += 1.0;
        total += 1.0;
    }
    counts
        .into_iter()
        .map(|count| if total > 0.0 { rounded(count / total) } else { 0.0 })
        .collect()
}

/// The samples with the largest mean z among those that were recorded.
pub(super) fn least_compatible(run: &Run) -> Vec<Incompatible> {
    let mut of_sample: BTreeMap<(&str, Option<u64>), Vec<_>> = BTreeMap::new();
    let plan = run.events_named("started").last().map(|event| &event["plan"]);
    // Before that step, another objective is in force, whose weights say nothing of the run's own.
    let start = plan.and_then(|plan| plan["start_steps"].as_u64()).unwrap_or(0);
    for record in &run.samples {
        let is_own = record.get("step").and_then(Value::as_u64) > Some(start);
        for seen in samples_of(record) {
            of_sample
                .entry((seen.id, seen.sample))
                .or_default()
                .push((seen, is_own));
        }
    }
    let mut means: Vec<_> = of_sample
        .into_iter()
        .map(|((id, _), seen)| {
            let mean = |sum: f64| sum / seen.len() as f64;
            let z = mean(seen.iter().map(|(seen, _)| seen.z).sum());
            let nll = mean(seen.iter().map(|(seen, _)| seen.nll).sum());
            let own = seen.iter().rev().find(|(_, is_own)| *is_own);
            let last_weight = own.map_or_else(String::new, |(seen, _)| format!("{:.3}", seen.weight));
            (id, seen.len(), z, nll, last_weight)
        })
        .collect();
    means.sort_by(|a, b| b.2.total_cmp(&a.2));
    means
        .into_iter()
        .take(LISTED)
        .filter(|(_, _, z, ..)| *z > 0.0)
        .map(|(id, seen, z, nll, weight)| Incompatible {
            id: id.to_owned(),
            question: String::new(),
            answer: String::new(),
            seen,
            mean_z: format!("{z:.2}"),
            mean_nll: format!("{nll:.3}"),
            last_weight: weight,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_shares_and_the_weight_one_in_its_last_bin() {
        let seen = |weight| Seen {
            id: "a",
            sample: None,
            nll: 1.0,
            z: 0.0,
            weight,
            gate: None,
            supervised: None,
        };
        let shares = histogram([1.0, 1.0, 0.0, 0.49].into_iter().map(seen));
        assert_eq!((shares[0], shares[9], shares[BINS - 1]), (0.25, 0.25, 0.5));
        assert_eq!(histogram(std::iter::empty()), vec![0.0; BINS]);
    }

    #[test]
    fn samples_without_a_finite_value_are_left_out() {
        let record = serde_json::json!({"ids": ["a", "b"], "nll": [null, 1.0], "z": [null, 2.0], "weight": [1.0, 0.1]});
        let record = record.as_object().expect("an object");
        let ids: Vec<_> = samples_of(record).map(|seen| seen.id).collect();
        assert_eq!(ids, ["b"]);
    }
}
