//! Distributes the samples of a global batch over shards with about the same number of tokens.

/// The sample indices of each shard, in increasing order; `tokens` holds the length of each sample.
///
/// Samples are assigned in order of decreasing length, each to the shard with the fewest tokens; ties go by index. So
/// the shards differ by at most the tokens of one sample. The result depends only on the arguments: everyone who knows
/// the lengths computes the same. If there are fewer samples than shards, some shards are empty.
///
/// # Panics
/// If `shards` is 0.
///
/// # Examples
/// ```
/// // Each of the two shards gets 6 tokens.
/// assert_eq!(cadft_batch::deal(&[5, 3, 3, 1], 2), vec![vec![0, 3], vec![1, 2]]);
/// ```
pub fn deal(tokens: &[usize], shards: usize) -> Vec<Vec<usize>> {
    assert!(shards > 0, "samples are dealt into at least one shard");
    let mut longest_first: Vec<usize> = (0..tokens.len()).collect();
    longest_first.sort_by_key(|&place| (std::cmp::Reverse(tokens[place]), place));
    let mut dealt = vec![vec![]; shards];
    let mut weights = vec![0_usize; shards];
    for place in longest_first {
        let lightest = (0..shards).min_by_key(|&shard| weights[shard]).unwrap_or(0);
        weights[lightest] += tokens[place];
        dealt[lightest].push(place);
    }
    for shard in &mut dealt {
        shard.sort_unstable();
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_sample_is_in_one_shard_and_no_shard_is_heavier_by_more_than_one_sample(
            tokens in prop::collection::vec(1_usize..300, 0..40),
            shards in 1_usize..9,
        ) {
            let dealt = deal(&tokens, shards);
            let mut all = dealt.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..tokens.len()).collect::<Vec<_>>());
            let weight = |shard: &Vec<usize>| shard.iter().map(|&place| tokens[place]).sum::<usize>();
            let weights = || dealt.iter().map(weight);
            let longest = tokens.iter().copied().max().unwrap_or(0);
            prop_assert!(weights().max() <= weights().min().map(|lightest| lightest + longest));
            prop_assert!(dealt.iter().all(|shard| shard.is_sorted()));
        }
    }

    #[test]
    fn one_shard_is_the_batch_and_equal_samples_go_around() {
        assert_eq!(deal(&[5, 9, 2], 1), [[0, 1, 2]]);
        assert_eq!(deal(&[4; 5], 2), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(deal(&[7], 3), [vec![0], vec![], vec![]]);
    }
}
