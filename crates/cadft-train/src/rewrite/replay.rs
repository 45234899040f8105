//! Applies a log to its data set.

use super::digest::digest;
use super::record::{Decision, Record, SampleRecord};
use super::target::Target;
use crate::error::TrainError;
use cadft_data::{Example, Samples};
use std::collections::{BTreeMap, BTreeSet};

/// The result of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// Samples whose target differs from the source.
    pub examples: BTreeMap<usize, Example>,
    /// Number of rounds whose digest was verified.
    pub rounds: usize,
}

/// Applies a log to its data set, and verifies the digests in the log.
///
/// # Errors
/// A log of other data, or a log that was modified.
pub fn replay(records: &[Record], source: &Samples, stop_token_ids: &[u32]) -> Result<Replay, TrainError> {
    let mut replay = Replay::default();
    let compare = |expected: &str, rewritten: &BTreeMap<usize, Example>, place: &str| {
        if digest(source, rewritten) == expected {
            return Ok(());
        }
        Err(other_data(&format!("the data set is not the one {place}")))
    };
    for record in records {
        match record {
            Record::Header(header) => compare(&header.sha256, &replay.examples, "that was read")?,
            Record::Sample(record) if record.decision == Decision::Replaced => {
                let example = replaced(record, &replay.examples, source, stop_token_ids)?;
                replay.examples.insert(record.sample, example);
            }
            Record::Sample(_) => {}
            Record::Round(round) => {
                compare(
                    &round.sha256,
                    &replay.examples,
                    &format!("after step {}", round.step),
                )?;
                replay.rounds += 1;
            }
            Record::Undo(undo) => {
                replay.examples.remove(&undo.sample);
            }
        }
    }
    Ok(replay)
}

/// The samples whose target is replaced at the end of a log.
pub(super) fn rewritten(records: &[Record]) -> BTreeSet<usize> {
    let mut samples = BTreeSet::new();
    for record in records {
        match record {
            Record::Sample(record) if record.decision == Decision::Replaced => {
                samples.insert(record.sample);
            }
            Record::Undo(undo) => {
                samples.remove(&undo.sample);
            }
            _ => {}
        }
    }
    samples
}

/// The sample of a record, with its new target.
fn replaced(
    record: &SampleRecord,
    rewritten: &BTreeMap<usize, Example>,
    source: &Samples,
    stop_token_ids: &[u32],
) -> Result<Example, TrainError> {
    let known = record.sample < source.len();
    let example = known.then(|| {
        rewritten
            .get(&record.sample)
            .cloned()
            .unwrap_or_else(|| source.get(record.sample))
    });
    let found = example.and_then(|example| {
        let target = Target::of(&example, stop_token_ids)?;
        Some((example, target))
    });
    let Some((example, target)) = found.filter(|(example, _)| example.id == record.id) else {
        let message = format!(
            "sample {} is not `{}`, or cannot be rewritten",
            record.sample, record.id
        );
        return Err(other_data(&message));
    };
    let (Some(old), Some(new)) = (&record.old, &record.new) else {
        return Err(other_data(&format!("the record of `{}` has no text", record.id)));
    };
    if example.token_ids[target.tokens.clone()] != old.token_ids {
        return Err(other_data(&format!(
            "`{}` does not have the target that was replaced",
            record.id
        )));
    }
    Ok(target.replaced(&example, &new.token_ids))
}

fn other_data(message: &str) -> TrainError {
    TrainError::mismatch(
        format!("the log of rewrites does not fit the data: {message}"),
        "use the data files and the model of the run",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::record::{RoundRecord, Side, UndoRecord};
    use cadft_data::{Dataset, Origin, Report};

    const STOP: u32 = 9;

    fn source() -> Samples {
        let examples = (0..3)
            .map(|number| Example {
                id: format!("row-{number}"),
                weight: 1.0,
                token_ids: vec![1, 2, 3 + number, STOP],
                loss_mask: vec![false, false, true, true],
                prompt_len: 2,
                answer: None,
                origin: Origin::default(),
            })
            .collect();
        Samples::from(Dataset {
            examples,
            report: Report::default(),
        })
    }

    fn side(token_ids: &[u32]) -> Option<Side> {
        Some(Side {
            text: String::new(),
            score: Some(1.0),
            token_ids: token_ids.to_vec(),
        })
    }

    fn replacing(sample: usize, old: &[u32], new: &[u32]) -> Record {
        Record::Sample(SampleRecord {
            step: 8,
            sample,
            id: format!("row-{sample}"),
            decision: Decision::Replaced,
            reason: None,
            average: 1.0,
            last_z: 1.0,
            observations: 2,
            seed: Some(1),
            guided: false,
            old: side(old),
            new: side(new),
        })
    }

    fn after(sha256: String) -> Record {
        Record::Round(RoundRecord {
            step: 8,
            chosen: 1,
            drawn: 1,
            replaced: 1,
            sha256,
        })
    }

    #[test]
    fn rewrites_follow_each_other_and_an_undo_restores_the_source() {
        let source = source();
        let twice = [
            replacing(1, &[4, STOP], &[5, 5, STOP]),
            replacing(1, &[5, 5, STOP], &[6, STOP]),
        ];
        let replayed = replay(&twice, &source, &[STOP]).unwrap();
        assert_eq!(replayed.examples[&1].token_ids, [1, 2, 6, STOP]);
        let undo = Record::Undo(UndoRecord {
            sample: 1,
            id: "row-1".to_owned(),
        });
        let undone = replay(&[&twice[..], &[undo]].concat(), &source, &[STOP]).unwrap();
        assert!(undone.examples.is_empty());
    }

    #[test]
    fn the_digest_of_each_round_is_compared() {
        let source = source();
        let rewrite = replacing(1, &[4, STOP], &[5, STOP]);
        let found = replay(std::slice::from_ref(&rewrite), &source, &[STOP]).unwrap();
        let sha256 = digest(&source, &found.examples);
        assert_ne!(sha256, digest(&source, &BTreeMap::new()));
        assert_eq!(
            replay(&[rewrite.clone(), after(sha256)], &source, &[STOP])
                .unwrap()
                .rounds,
            1
        );
        let error = replay(&[rewrite, after("0".repeat(64))], &source, &[STOP])
            .unwrap_err()
            .to_string();
        assert!(error.contains("after step 8"), "{error}");
    }

    #[test]
    fn a_record_of_other_data_is_refused() {
        for (sample, old) in [(1, &[5, STOP][..]), (7, &[4, STOP])] {
            let error = replay(&[replacing(sample, old, &[6, STOP])], &source(), &[STOP])
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("row-{sample}")), "{error}");
        }
    }
}
