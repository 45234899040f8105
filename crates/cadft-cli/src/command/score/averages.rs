//! The moving averages of the samples, from an earlier run.

use crate::hint::UsageError;
use anyhow::Result;
use cadft_data::{Example, Samples};
use cadft_train::rewrite::SampleCompatibility;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The moving average of each sample. Samples are matched by id, file and line; those that remain are matched by id, in
/// order. `None` for a sample that the run did not see.
pub(super) fn of_samples(samples: &Samples, run: &[SampleCompatibility]) -> Result<Vec<Option<f64>>> {
    let averages = matched(samples.iter(), run);
    if averages.iter().all(Option::is_none) {
        return Err(UsageError::new(
            "`--run`: the run saw none of these samples",
            "give the files that the run was trained on",
        )
        .into());
    }
    Ok(averages.into_iter().map(Option::flatten).collect())
}

/// For each sample, the average of the sample of the run that matches it, if one does.
fn matched(samples: impl Iterator<Item = Example>, run: &[SampleCompatibility]) -> Vec<Option<Option<f64>>> {
    let place = |known: &SampleCompatibility| Some((known.id.clone(), known.path.clone()?, known.line?));
    let mut by_place = Queues::of(run, place, |_| true);
    let mut is_taken = vec![false; run.len()];
    let mut ids = vec![];
    let mut found: Vec<Option<usize>> = samples
        .map(|sample| {
            let place = (
                sample.id.clone(),
                sample.origin.path.to_string(),
                sample.origin.line,
            );
            let known = by_place.next(&place);
            if let Some(known) = known {
                is_taken[known] = true;
            }
            ids.push(sample.id);
            known
        })
        .collect();
    let mut by_id = Queues::of(run, |known| Some(known.id.clone()), |known| !is_taken[known]);
    for (id, found) in ids.iter().zip(&mut found) {
        *found = found.or_else(|| by_id.next(id));
    }
    found
        .into_iter()
        .map(|known| known.map(|known| run[known].average))
        .collect()
}

/// The samples of a run by key, in order.
struct Queues<K>(HashMap<K, VecDeque<usize>>);

impl<K: Eq + Hash> Queues<K> {
    fn of(
        run: &[SampleCompatibility],
        key: impl Fn(&SampleCompatibility) -> Option<K>,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Self {
        let mut queues: HashMap<K, VecDeque<usize>> = HashMap::new();
        for (number, known) in run.iter().enumerate().filter(|(number, _)| is_wanted(*number)) {
            if let Some(key) = key(known) {
                queues.entry(key).or_default().push_back(number);
            }
        }
        Self(queues)
    }

    fn next(&mut self, key: &K) -> Option<usize> {
        self.0.get_mut(key)?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadft_data::Origin;

    fn known(id: &str, place: Option<(&str, usize)>, average: f64) -> SampleCompatibility {
        SampleCompatibility {
            id: id.to_owned(),
            average: Some(average),
            last_z: None,
            observations: 1,
            rewrites: None,
            path: place.map(|(path, _)| path.to_owned()),
            line: place.map(|(_, line)| line),
        }
    }

    fn sample(id: &str, path: &str, line: usize) -> Example {
        Example {
            id: id.to_owned(),
            weight: 1.0,
            token_ids: vec![],
            loss_mask: vec![],
            prompt_len: 0,
            answer: None,
            origin: Origin {
                path: path.into(),
                line,
                ..Origin::default()
            },
        }
    }

    fn averages(samples: &[Example], run: &[SampleCompatibility]) -> Vec<Option<f64>> {
        let found = matched(samples.iter().cloned(), run);
        found.into_iter().map(Option::flatten).collect()
    }

    #[test]
    fn samples_that_share_an_id_are_told_apart_by_their_place() {
        let run = [known("x", Some(("a", 1)), 1.0), known("x", Some(("b", 1)), 2.0)];
        assert_eq!(averages(&[sample("x", "b", 1)], &run), [Some(2.0)]);
        let both = [sample("x", "b", 1), sample("x", "a", 1), sample("y", "a", 1)];
        assert_eq!(averages(&both, &run), [Some(2.0), Some(1.0), None]);
    }

    #[test]
    fn where_no_place_is_known_samples_that_share_an_id_are_taken_in_order() {
        let without = [known("x", None, 1.0), known("x", None, 2.0)];
        let moved = [known("x", Some(("a", 1)), 1.0), known("x", Some(("a", 2)), 2.0)];
        let samples = [sample("x", "c", 1), sample("x", "c", 2), sample("x", "c", 3)];
        for run in [without, moved] {
            assert_eq!(averages(&samples, &run), [Some(1.0), Some(2.0), None]);
        }
    }
}
