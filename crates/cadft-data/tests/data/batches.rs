//! Orders, buckets, padding and targets.

use cadft_data::{
    Batch, BatchOptions, Bucketing, Example, Order, Origin, Packing, epoch_order, micro_batch_shapes,
    micro_batches,
};
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
            origin: Origin::default(),
        };
        sequences.into_iter().map(example).collect()
    })
}

fn bucketing() -> impl Strategy<Value = Bucketing> {
    prop_oneof![Just(Bucketing::ByLength), Just(Bucketing::None)]
}

fn packing() -> impl Strategy<Value = Packing> {
    prop_oneof![
        Just(Packing::PaddingFree),
        Just(Packing::None),
        Just(Packing::BestFit)
    ]
}

fn cut(examples: &[Example], micro: usize, bucketing: Bucketing) -> Vec<Batch> {
    let options = BatchOptions {
        micro,
        max_tokens: None,
        bucketing,
        packing: Packing::None,
        row_tokens: 0,
    };
    micro_batches(&examples.iter().collect::<Vec<_>>(), &options).collect()
}

/// A sample of a batch: (index, tokens, (position in the sample, token) of each target).
type Content = (usize, Vec<u32>, Vec<(usize, u32)>);

fn contents(batch: &Batch) -> Vec<Content> {
    let mut contents = Vec::new();
    for (row, segments) in batch.segments.iter().enumerate() {
        let mut start = row * batch.seq;
        for &length in segments {
            let sample = contents.len();
            let targets = batch.targets.iter().filter(|target| target.sample == sample);
            let targets = targets
                .map(|target| (target.position - start + 1, target.token_id))
                .collect();
            contents.push((
                batch.indices[sample],
                batch.token_ids[start..start + length].to_vec(),
                targets,
            ));
            start += length;
        }
    }
    contents
}

proptest! {
    #[test]
    fn shapes_are_those_of_the_batches(
        examples in examples(),
        micro in 1..6_usize,
        max_tokens in prop::option::of(1..40_usize),
        bucketing in bucketing(),
        packing in packing(),
    ) {
        let options = BatchOptions {
            micro,
            max_tokens,
            bucketing,
            packing,
            row_tokens: 12,
        };
        let lengths: Vec<usize> = examples.iter().map(|example| example.token_ids.len()).collect();
        let batches: Vec<_> = micro_batches(&examples.iter().collect::<Vec<_>>(), &options).collect();
        let shapes: Vec<[usize; 2]> = batches.iter().map(|batch| [batch.rows, batch.seq]).collect();
        prop_assert_eq!(micro_batch_shapes(&lengths, &options), shapes);
    }

    #[test]
    fn every_example_is_in_one_batch(examples in examples(), micro in 1..6_usize, bucketing in bucketing()) {
        let batches = cut(&examples, micro, bucketing);
        let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
        if bucketing == Bucketing::None {
            prop_assert!(seen.is_sorted());
        } else {
            prop_assert!(seen.iter().map(|&index| (examples[index].token_ids.len(), index)).is_sorted());
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..examples.len()).collect::<Vec<_>>());
        prop_assert!(batches.iter().all(|batch| batch.rows <= micro && batch.rows == batch.indices.len()));
    }

    #[test]
    fn rows_are_the_examples_and_padding(examples in examples(), micro in 1..6_usize, bucketing in bucketing()) {
        for batch in cut(&examples, micro, bucketing) {
            prop_assert_eq!(batch.token_ids.len(), batch.rows * batch.seq);
            prop_assert_eq!(batch.segments.iter().flatten().max(), Some(&batch.seq));
            prop_assert!(!batch.is_packed());
            for (row, (&index, &length)) in batch.indices.iter().zip(batch.segments.iter().flatten()).enumerate() {
                let (tokens, padding) = batch.token_ids[row * batch.seq..(row + 1) * batch.seq].split_at(length);
                prop_assert_eq!(tokens, &examples[index].token_ids[..]);
                // A token id that every model has.
                prop_assert!(padding.iter().all(|&id| id == 0));
            }
        }
    }

    #[test]
    fn targets_are_exactly_the_masked_tokens(examples in examples(), micro in 1..6_usize, bucketing in bucketing()) {
        for batch in cut(&examples, micro, bucketing) {
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
    fn packing_and_token_budgets_keep_every_sample_and_its_targets(
        examples in examples(),
        row_tokens in 1..40_usize,
        max_tokens in prop::option::of(1..60_usize),
        bucketing in bucketing(),
        packing in packing(),
    ) {
        let options = BatchOptions { micro: 2, max_tokens, bucketing, packing, row_tokens };
        let batches: Vec<_> = micro_batches(&examples.iter().collect::<Vec<_>>(), &options).collect();
        let mut seen = Vec::new();
        for batch in &batches {
            let budget = max_tokens.unwrap_or(usize::MAX);
            let most = match packing {
                Packing::PaddingFree => budget,
                Packing::BestFit => budget.min(row_tokens),
                Packing::None => 0,
            };
            for segments in batch.segments.iter().filter(|segments| segments.len() > 1) {
                prop_assert!(segments.iter().sum::<usize>() <= most);
            }
            match max_tokens {
                Some(most) => prop_assert!(batch.indices.len() == 1 || batch.rows == 1 || batch.rows * batch.seq <= most),
                None => prop_assert!(batch.rows <= 2),
            }
            if packing == Packing::PaddingFree {
                prop_assert_eq!((batch.rows, batch.padding()), (1, 0));
            }
            let tokens: usize = batch.segments.iter().flatten().sum();
            prop_assert_eq!(batch.padding(), batch.rows * batch.seq - tokens);
            seen.extend(contents(batch));
        }
        seen.sort();
        let expected: Vec<_> = examples.iter().enumerate().map(|(index, example)| {
            let masked = example.token_ids.iter().zip(&example.loss_mask).enumerate();
            let targets = masked.filter(|(_, (_, trained))| **trained).map(|(t, (&id, _))| (t, id)).collect();
            (index, example.token_ids.clone(), targets)
        }).collect();
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn two_packed_rows_are_never_both_less_than_half_full(examples in examples(), row_tokens in 12..40_usize) {
        let options = BatchOptions {
            micro: 100, max_tokens: None, bucketing: Bucketing::None, packing: Packing::BestFit, row_tokens,
        };
        for batch in micro_batches(&examples.iter().collect::<Vec<_>>(), &options) {
            let used = batch.segments.iter().map(|segments| segments.iter().sum::<usize>());
            prop_assert!(used.filter(|used| used * 2 < row_tokens).count() <= 1);
        }
    }

    #[test]
    fn without_padding_micro_batches_have_about_as_many_tokens_each(examples in examples(), micro in 1..6_usize) {
        let options = BatchOptions {
            micro, max_tokens: None, bucketing: Bucketing::ByLength, packing: Packing::PaddingFree, row_tokens: 0,
        };
        let sizes: Vec<usize> = micro_batches(&examples.iter().collect::<Vec<_>>(), &options)
            .map(|batch| batch.token_ids.len())
            .collect();
        prop_assert_eq!(sizes.len(), examples.len().div_ceil(micro));
        let longest = examples.iter().map(|example| example.token_ids.len()).max().unwrap_or(0);
        let [fewest, most] = [sizes.iter().min(), sizes.iter().max()].map(|size| size.copied().unwrap_or(0));
        prop_assert!(most <= fewest + longest);
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
        origin: Origin::default(),
    };
    assert_eq!(cut(&[example.clone(), example], 0, Bucketing::ByLength).len(), 2);
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

/// A run that resumes on another machine, or with another version, must continue in the same order. The numbers are
/// from an independent implementation of ChaCha8 in Python.
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
