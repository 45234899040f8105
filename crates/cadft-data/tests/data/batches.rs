//! Orders, buckets, padding and targets.

use cadft_data::{Batch, Bucketing, Example, Order, epoch_order, micro_batches};
use proptest::prelude::*;

fn examples() -> impl Strategy<Value = Vec<Example>> {
    let tokens = prop::collection::vec((0..50_u32, any::<bool>()), 1..12);
    prop::collection::vec(tokens, 0..20).prop_map(|sequences| {
        let example = |tokens: Vec<(u32, bool)>| Example {
            id: String::new(),
            weight: 1.0,
            token_ids: tokens.iter().map(|(id, _)| *id).collect(),
            loss_mask: tokens
                .iter()
                .enumerate()
                .map(|(index, (_, trained))| index > 0 && *trained)
                .collect(),
            prompt_len: 0,
            answer: None,
        };
        sequences.into_iter().map(example).collect()
    })
}

fn bucketing() -> impl Strategy<Value = Bucketing> {
    prop_oneof![Just(Bucketing::ByLength), Just(Bucketing::None)]
}

fn cut(examples: &[Example], micro: usize, bucketing: Bucketing, pad: u32) -> Vec<Batch> {
    micro_batches(&examples.iter().collect::<Vec<_>>(), micro, bucketing, pad)
}

proptest! {
    #[test]
    fn every_example_is_in_one_batch(examples in examples(), micro in 1..6_usize, bucketing in bucketing()) {
        let batches = cut(&examples, micro, bucketing, 0);
        let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
        if bucketing == Bucketing::None {
            prop_assert!(seen.is_sorted());
        } else {
            prop_assert!(seen.iter().map(|&index| (examples[index].token_ids.len(), index)).is_sorted());
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..examples.len()).collect::<Vec<_>>());
        prop_assert!(batches.iter().all(|batch| batch.samples <= micro && batch.samples == batch.indices.len()));
    }

    #[test]
    fn rows_are_the_examples_and_padding(examples in examples(), micro in 1..6_usize, bucketing in bucketing()) {
        for batch in cut(&examples, micro, bucketing, 999) {
            prop_assert_eq!(batch.token_ids.len(), batch.samples * batch.seq);
            prop_assert_eq!(batch.lengths.iter().max(), Some(&batch.seq));
            for (row, (&index, &length)) in batch.indices.iter().zip(&batch.lengths).enumerate() {
                let (tokens, padding) = batch.token_ids[row * batch.seq..(row + 1) * batch.seq].split_at(length);
                prop_assert_eq!(tokens, &examples[index].token_ids[..]);
                prop_assert!(padding.iter().all(|&id| id == 999));
            }
        }
    }

    #[test]
    fn targets_are_exactly_the_masked_tokens(examples in examples(), micro in 1..6_usize, bucketing in bucketing()) {
        for batch in cut(&examples, micro, bucketing, 0) {
            let mut expected = Vec::new();
            for (row, &index) in batch.indices.iter().enumerate() {
                for (t, _) in examples[index].loss_mask.iter().enumerate().filter(|(_, trained)| **trained) {
                    expected.push((row, row * batch.seq + t - 1, examples[index].token_ids[t]));
                }
            }
            let targets = batch.targets.iter().map(|target| (target.sample, target.position, target.token_id));
            prop_assert_eq!(targets.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn padding_is_known_by_length(examples in examples(), micro in 1..6_usize) {
        // The padding id is one that occurs in the data, as where padding is the end of a sequence.
        let (one, other) = (cut(&examples, micro, Bucketing::None, 0), cut(&examples, micro, Bucketing::None, 7));
        for (one, other) in one.into_iter().zip(other) {
            prop_assert_eq!(one.targets, other.targets);
            prop_assert_eq!(one.lengths, other.lengths);
        }
    }

    #[test]
    fn shuffling_is_a_permutation(len in 0..200_usize, seed in any::<u64>(), epoch in any::<u64>()) {
        let mut order = epoch_order(len, Order::Shuffled, seed, epoch);
        prop_assert_eq!(&order, &epoch_order(len, Order::Shuffled, seed, epoch));
        order.sort_unstable();
        prop_assert_eq!(order, epoch_order(len, Order::Sequential, seed, epoch));
    }
}

#[test]
fn a_micro_batch_of_none_counts_as_one() {
    let example = Example {
        id: String::new(),
        weight: 1.0,
        token_ids: vec![1, 2],
        loss_mask: vec![false, true],
        prompt_len: 1,
        answer: None,
    };
    assert_eq!(
        cut(&[example.clone(), example], 0, Bucketing::ByLength, 0).len(),
        2
    );
}

#[test]
fn sequential_order_is_that_of_the_files() {
    assert_eq!(epoch_order(4, Order::Sequential, 1, 2), [0, 1, 2, 3]);
}

#[test]
fn the_order_differs_by_seed_and_epoch() {
    let order = |seed, epoch| epoch_order(100, Order::Shuffled, seed, epoch);
    assert_ne!(order(0, 0), order(0, 1));
    assert_ne!(order(0, 0), order(1, 0));
    assert_ne!(order(0, 1), order(1, 0));
}

/// A run that resumes on another machine, or with another version, continues in the same order. The numbers are
/// those of an independent implementation of ChaCha8 in Python.
#[test]
fn the_order_never_changes() {
    assert_eq!(
        epoch_order(10, Order::Shuffled, 42, 0),
        [7, 6, 5, 1, 0, 4, 8, 9, 2, 3]
    );
    assert_eq!(
        epoch_order(10, Order::Shuffled, 42, 1),
        [8, 2, 7, 0, 4, 6, 9, 3, 1, 5]
    );
    assert_eq!(epoch_order(5, Order::Shuffled, u64::MAX, 3), [2, 4, 1, 0, 3]);
}
