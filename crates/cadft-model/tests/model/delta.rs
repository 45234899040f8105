//! Linear attention: both forms of its operations equal the recurrence in f64, in value and in every gradient, however the samples
//! are cut.

use burn::tensor::{Device, Tensor, TensorData};
use cadft_model::delta::{self, DeltaHeads, DeltaInput, Segments, portable};
use proptest::prelude::*;

use crate::values;

/// Queries, keys, values, decays and β, `[tokens, _]` each.
type Inputs<T> = [T; 5];

/// A form of the rule, and one of the convolution.
type RuleForm = fn(DeltaInput) -> Tensor<2>;
type ConvForm = fn(Tensor<2>, Tensor<2>, &Segments) -> Tensor<2>;

/// Numbers of a small generator, between −1 and 1.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 40) as u32) / f64::from(1u32 << 23) - 1.0
    };
    (0..count).map(next).collect()
}

/// Heads of length about 1, decays below 0, β between 0 and 1.
fn inputs(heads: DeltaHeads, tokens: usize, seed: u64) -> Inputs<Vec<f64>> {
    let (keys, values) = (
        heads.key_heads * heads.key_dim,
        heads.value_heads * heads.value_dim,
    );
    let unit = |seed| {
        let x = numbers(seed, tokens * keys);
        let of_heads = x.chunks(heads.key_dim).flat_map(|head| {
            let length = head.iter().map(|x| x * x).sum::<f64>().sqrt() + 0.05;
            head.iter().map(move |x| x / length)
        });
        of_heads.collect::<Vec<f64>>()
    };
    let number = |seed| numbers(seed, tokens * heads.value_heads).into_iter();
    [
        unit(seed),
        unit(seed + 1),
        numbers(seed + 2, tokens * values),
        number(seed + 3).map(|x| -0.5 * (x + 1.0)).collect(),
        number(seed + 4).map(|x| 0.5 * (x + 1.0)).collect(),
    ]
}

/// The outputs by the recurrence, in f64.
fn naive(inputs: &Inputs<Vec<f64>>, heads: DeltaHeads, lengths: &[usize]) -> Vec<f64> {
    let [query, key, value, decay, beta] = inputs;
    let DeltaHeads {
        key_heads,
        value_heads,
        key_dim,
        value_dim,
    } = heads;
    let tokens: usize = lengths.iter().sum();
    let mut outputs = vec![0.0; tokens * value_heads * value_dim];
    for head in 0..value_heads {
        let mut start = 0;
        for &length in lengths {
            let mut memory = vec![0.0; key_dim * value_dim];
            for token in start..start + length {
                let of_key = (token * key_heads + head * key_heads / value_heads) * key_dim;
                let of_value = token * value_heads + head;
                memory.iter_mut().for_each(|m| *m *= decay[of_value].exp());
                for column in 0..value_dim {
                    let at = |row: usize| row * value_dim + column;
                    let seen: f64 = (0..key_dim).map(|row| memory[at(row)] * key[of_key + row]).sum();
                    let update = beta[of_value] * (value[of_value * value_dim + column] - seen);
                    (0..key_dim).for_each(|row| memory[at(row)] += key[of_key + row] * update);
                    outputs[of_value * value_dim + column] = (0..key_dim)
                        .map(|row| memory[at(row)] * query[of_key + row])
                        .sum();
                }
            }
            start += length;
        }
    }
    outputs
}

fn tensor(values: &[f64], tokens: usize) -> Tensor<2> {
    let narrow: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    let data = TensorData::new(narrow, [tokens, values.len() / tokens.max(1)]);
    Tensor::from_data(data, &Device::flex().autodiff())
}

fn input(inputs: &Inputs<Tensor<2>>, heads: DeltaHeads, lengths: &[usize]) -> DeltaInput {
    let [query, key, value, decay, beta] = inputs.clone();
    DeltaInput {
        query,
        key,
        value,
        decay,
        beta,
        heads,
        segments: Segments::new(lengths.to_vec()),
    }
}

/// The largest difference, relative to the largest expected value.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|x| x.abs()).fold(1e-3, f64::max);
    let each = found
        .iter()
        .zip(expected)
        .map(|(&found, expected)| (f64::from(found) - expected).abs());
    each.fold(0.0, f64::max) / scale
}

/// Both forms against f64; gradients against the slope of a random sum of outputs in a random direction.
fn check(heads: DeltaHeads, lengths: &[usize], seed: u64) {
    let tokens = lengths.iter().sum();
    let exact = inputs(heads, tokens, seed);
    let expected = naive(&exact, heads, lengths);
    let upstream = numbers(seed + 10, expected.len());
    let forms: [(&str, RuleForm); 2] = [
        ("Flex", delta::delta_rule),
        ("portable", |input| portable::delta_rule(input, None).0),
    ];
    let mut gradients = vec![];
    for (name, rule) in forms {
        let leaves = exact
            .each_ref()
            .map(|values| tensor(values, tokens).require_grad());
        let found = rule(input(&leaves, heads, lengths));
        let far = difference(&values(&found), &expected);
        assert!(far < 3e-6, "{name}: {far:e}");
        let grads = (found * tensor(&upstream, tokens)).sum().backward();
        gradients.push(leaves.map(|leaf| values(&leaf.grad(&grads).expect("a gradient"))));
    }
    let sum = |inputs: &Inputs<Vec<f64>>| -> f64 {
        let outputs = naive(inputs, heads, lengths);
        outputs.iter().zip(&upstream).map(|(a, b)| a * b).sum()
    };
    for part in 0..5 {
        let direction = numbers(seed + 20 + part as u64, exact[part].len());
        let moved = |step: f64| {
            let mut moved = exact.clone();
            moved[part]
                .iter_mut()
                .zip(&direction)
                .for_each(|(x, d)| *x += step * d);
            sum(&moved)
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        for (name, gradients) in ["Flex", "portable"].into_iter().zip(&gradients) {
            let along = gradients[part]
                .iter()
                .zip(&direction)
                .map(|(&g, d)| f64::from(g) * d);
            let size: f64 = gradients[part]
                .iter()
                .map(|&g| f64::from(g).powi(2))
                .sum::<f64>()
                .sqrt();
            let far = (along.sum::<f64>() - slope).abs() / (size + 1e-3);
            assert!(far < 1e-5, "{name}, gradient {part}: {far:e}");
        }
    }
}

#[test]
fn one_sample_longer_than_a_chunk_and_than_a_block() {
    let heads = DeltaHeads {
        key_heads: 2,
        value_heads: 4,
        key_dim: 5,
        value_dim: 7,
    };
    check(heads, &[150], 1);
    check(heads, &[64, 1, 17], 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn heads_and_samples_of_any_size(
        key_heads in 1usize..3,
        groups in 1usize..4,
        key_dim in 1usize..9,
        value_dim in 1usize..40,
        lengths in prop::collection::vec(1usize..40, 1..5),
        seed in 0u64..1000,
    ) {
        check(DeltaHeads { key_heads, value_heads: key_heads * groups, key_dim, value_dim }, &lengths, seed);
    }

    #[test]
    fn a_sample_is_the_same_beside_others(lengths in prop::collection::vec(1usize..40, 2..5), seed in 0u64..1000) {
        let heads = DeltaHeads { key_heads: 1, value_heads: 2, key_dim: 4, value_dim: 6 };
        let tokens: usize = lengths.iter().sum();
        let all = inputs(heads, tokens, seed).map(|values| tensor(&values, tokens));
        let together = values(&delta::delta_rule(input(&all, heads, &lengths)));
        let mut start = 0;
        for &length in &lengths {
            let own = all.clone().map(|x| x.slice_dim(0, start..start + length));
            let alone = values(&delta::delta_rule(input(&own, heads, &[length])));
            prop_assert_eq!(&alone[..], &together[start * 12..(start + length) * 12]);
            start += length;
        }
    }
}

#[test]
fn both_convolutions_equal_f64() {
    for (channels, kernel, lengths) in [(1, 1, vec![3]), (5, 4, vec![1, 9, 2, 70]), (33, 3, vec![130])] {
        let tokens: usize = lengths.iter().sum();
        let (x, weight) = (numbers(1, tokens * channels), numbers(2, channels * kernel));
        let upstream = numbers(3, tokens * channels);
        let segments = Segments::new(lengths.clone());
        let exact = |x: &[f64], weight: &[f64]| {
            let mut outputs = vec![];
            let mut start = 0;
            for &length in &lengths {
                for (token, channel) in
                    (0..length).flat_map(|token| (0..channels).map(move |channel| (token, channel)))
                {
                    let terms = (0..kernel.min(token + 1)).map(|back| {
                        x[(start + token - back) * channels + channel]
                            * weight[channel * kernel + kernel - 1 - back]
                    });
                    let z: f64 = terms.sum();
                    outputs.push(z / (1.0 + (-z).exp()));
                }
                start += length;
            }
            outputs
        };
        let forms: [(&str, ConvForm); 2] = [
            ("Flex", delta::causal_conv),
            ("portable", |x, weight, segments| {
                portable::causal_conv(x, weight, None, segments)
            }),
        ];
        for (name, conv) in forms {
            let (of_x, of_weight) = (
                tensor(&x, tokens).require_grad(),
                tensor(&weight, channels).require_grad(),
            );
            let found = conv(of_x.clone(), of_weight.clone(), &segments);
            let far = difference(&values(&found), &exact(&x, &weight));
            assert!(far < 1e-6, "{name}: {far:e}");
            let grads = (found * tensor(&upstream, tokens)).sum().backward();
            let sum = |x: &[f64], weight: &[f64]| -> f64 {
                exact(x, weight).iter().zip(&upstream).map(|(a, b)| a * b).sum()
            };
            for (part, leaf) in [of_x, of_weight].into_iter().enumerate() {
                let found = values(&leaf.grad(&grads).expect("a gradient"));
                let direction = numbers(4, found.len());
                let moved = |step: f64| {
                    let mut both = [x.clone(), weight.clone()];
                    both[part]
                        .iter_mut()
                        .zip(&direction)
                        .for_each(|(x, d)| *x += step * d);
                    sum(&both[0], &both[1])
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let along: f64 = found.iter().zip(&direction).map(|(&g, d)| f64::from(g) * d).sum();
                let size: f64 = found.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                assert!(
                    (along - slope).abs() < 1e-5 * (size + 1.0),
                    "{name}, gradient {part}"
                );
            }
        }
    }
}
