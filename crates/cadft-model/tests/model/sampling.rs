//! The distributions of sampling: exact values, boundaries, ties, and draws.

use burn::tensor::Device;
use cadft_model::generate::{Request, generate, ignore_tokens};
use cadft_model::{CausalLm, GenerateOptions, Sampling};
use proptest::prelude::*;
use serde_json::json;

use crate::{tiny, tokens, values};

fn kept(sampling: &Sampling, logits: &[f32]) -> Vec<u32> {
    let distribution = sampling.distribution(logits, &[]);
    distribution.iter().map(|&(token, _)| token).collect()
}

fn top_p(top_p: f64) -> Sampling {
    Sampling::nucleus(1.0, top_p, 0)
}

fn top_k(top_k: usize) -> Sampling {
    Sampling {
        top_k: Some(top_k),
        ..Sampling::nucleus(1.0, 1.0, 0)
    }
}

fn min_p(min_p: f64) -> Sampling {
    Sampling {
        min_p,
        ..Sampling::nucleus(1.0, 1.0, 0)
    }
}

#[test]
fn the_nucleus_is_the_smallest_set_that_reaches_its_mass() {
    // Eight equal tokens: every partial sum is exact.
    let equal = [1.5; 8];
    assert_eq!(kept(&top_p(0.25), &equal), [0, 1]);
    assert_eq!(kept(&top_p(0.250_001), &equal), [0, 1, 2]);
    assert_eq!(kept(&top_p(0.249_999), &equal), [0, 1]);
    assert_eq!(kept(&top_p(1e-300), &equal), [0]);
    assert_eq!(kept(&top_p(1.0), &equal).len(), 8);
    // Halves, quarters and eighths; the thresholds are farther from the boundaries than the rounding of logits.
    let logits = [0.125f32, 0.5, 0.125, 0.25].map(f32::ln);
    assert_eq!(kept(&top_p(0.499), &logits), [1]);
    assert_eq!(kept(&top_p(0.501), &logits), [1, 3]);
    assert_eq!(kept(&top_p(0.749), &logits), [1, 3]);
    assert_eq!(kept(&top_p(0.874), &logits), [1, 3, 0]);
    assert_eq!(kept(&top_p(0.999), &logits), [1, 3, 0, 2]);
}

#[test]
fn top_k_leaves_exactly_k_tokens_the_lowest_ids_first_among_equals() {
    let logits = [1.0, 3.0, 2.0, 2.0, 2.0];
    assert_eq!(kept(&top_k(1), &logits), [1]);
    assert_eq!(kept(&top_k(2), &logits), [1, 2]);
    assert_eq!(kept(&top_k(3), &logits), [1, 2, 3]);
    assert_eq!(kept(&top_k(99), &logits), [1, 2, 3, 4, 0]);
    assert_eq!(kept(&Sampling::greedy(), &[0.0, 7.0, 7.0]), [1]);
    assert_eq!(kept(&top_k(2), &[-0.0, 0.0, -1.0]), [0, 1]);
}

#[test]
fn min_p_leaves_what_has_at_least_its_share_of_the_largest() {
    let logits = [0.0, 0.0 - 2.0f32.ln(), 0.0 - 4.0f32.ln()];
    assert_eq!(kept(&min_p(0.51), &logits), [0]);
    assert_eq!(kept(&min_p(0.49), &logits), [0, 1]);
    assert_eq!(kept(&min_p(0.24), &logits), [0, 1, 2]);
    assert_eq!(kept(&min_p(1.0), &[5.0, 5.0, 4.9]), [0, 1]);
}

#[test]
fn top_p_is_of_the_mass_that_top_k_leaves() {
    // 0.5, 0.25, 0.125, 0.125: top-2 leaves 2/3 and 1/3.
    let logits = [0.5f32, 0.25, 0.125, 0.125].map(f32::ln);
    let both = |p| Sampling { top_p: p, ..top_k(2) };
    assert_eq!(kept(&both(0.6), &logits), [0]);
    assert_eq!(kept(&both(0.7), &logits), [0, 1]);
    assert_eq!(kept(&top_p(0.6), &logits), [0, 1]);
}

#[test]
fn the_repetition_penalty_divides_positive_and_multiplies_other_logits_once() {
    let sampling = Sampling {
        repetition_penalty: 2.0,
        ..Sampling::nucleus(1.0, 1.0, 0)
    };
    let found = sampling.distribution(&[2.0, 2.0, -1.0, -1.0], &[0, 2, 0, 0]);
    let expected = Sampling::nucleus(1.0, 1.0, 0).distribution(&[1.0, 2.0, -2.0, -1.0], &[]);
    assert_eq!(found, expected);
    let greedy = Sampling {
        temperature: 0.0,
        ..sampling
    };
    assert_eq!(greedy.distribution(&[2.0, 1.5], &[0]), [(1, 1.0)]);
}

#[test]
fn a_falling_temperature_ends_at_the_most_probable_token() {
    let logits = [0.3, 1.0, 0.9, -2.0];
    let first = |temperature| Sampling::nucleus(temperature, 1.0, 0).distribution(&logits, &[])[0];
    let mut last = 0.0;
    for temperature in [8.0, 1.0, 0.5, 0.1, 0.01, 1e-3, 1e-300] {
        let (token, probability) = first(temperature);
        assert_eq!(token, 1);
        assert!(probability >= last);
        last = probability;
    }
    assert!((last - 1.0).abs() < 1e-12);
    assert_eq!(first(0.0), (1, 1.0));
}

#[test]
fn impossible_tokens_are_never_kept() {
    let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, f32::MIN];
    for sampling in [top_p(1.0), top_k(9), top_p(0.99), Sampling::nucleus(1e30, 1.0, 0)] {
        let kept = kept(&sampling, &logits);
        assert!(
            kept.contains(&1),
            "the most probable token is always kept: {kept:?}"
        );
        assert!(kept.iter().all(|token| [1, 3].contains(token)), "{kept:?}");
    }
}

proptest! {
    #[test]
    fn a_cut_leaves_the_shortest_beginning_of_the_ranking_that_it_may(
        logits in prop::collection::vec(-12.0f32..12.0, 1..60),
        temperature in 0.2f64..3.0,
        p in 0.01f64..0.999,
    ) {
        let all = Sampling::nucleus(temperature, 1.0, 0).distribution(&logits, &[]);
        prop_assert_eq!(all.len(), logits.len());
        prop_assert!((all.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-12);
        let in_order = all.windows(2).all(|pair| {
            let [(a, p), (b, q)] = [pair[0], pair[1]];
            p > q || (p == q && (a < b || logits[a as usize] > logits[b as usize]))
        });
        prop_assert!(in_order);
        let nucleus = Sampling::nucleus(temperature, p, 0).distribution(&logits, &[]);
        let mass = |count: usize| all[..count].iter().map(|(_, p)| p).sum::<f64>();
        let count = nucleus.len();
        prop_assert!(mass(count) >= p - 1e-9);
        prop_assert!(mass(count - 1) < p + 1e-9);
        for ((token, found), (expected, probability)) in nucleus.iter().zip(&all) {
            prop_assert_eq!(token, expected);
            prop_assert!((found - probability / mass(count)).abs() < 1e-9);
        }
    }
}

/// The chi-square statistic of counts against probabilities, and its degrees of freedom.
fn chi_square(counts: &[(f64, usize)], draws: usize) -> (f64, usize) {
    let statistic = counts
        .iter()
        .map(|&(probability, count)| {
            let expected = probability * draws as f64;
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    (statistic, counts.len() - 1)
}

#[test]
fn draws_have_the_frequencies_of_the_distribution() {
    const DRAWS: usize = 20_000;
    let model = CausalLm::new(&tiny(json!({"initializer_range": 0.6})), &Device::flex(), 11);
    let logits = values(&model.logits(model.hidden_states(tokens(&[&[3, 14]], &Device::flex()))));
    let cuts = Sampling {
        top_k: Some(12),
        min_p: 0.02,
        repetition_penalty: 1.3,
        ..Sampling::nucleus(4.0, 0.9, 9)
    };
    for sampling in [
        cuts,
        Sampling::nucleus(6.0, 1.0, 9),
        Sampling::nucleus(4.0, 0.8, 4),
    ] {
        // With a fixed prompt and one token, every request is a draw.
        let options = GenerateOptions {
            max_new_tokens: 1,
            batch: 64,
            sampling: sampling.clone(),
            ..GenerateOptions::default()
        };
        let requests = Request::samples(&[vec![3, 14]], DRAWS);
        let all = generate(&model, &requests, &options, &mut ignore_tokens).unwrap();
        let distribution = sampling.distribution(&logits[40..], &[3, 14]);
        let counts: Vec<(f64, usize)> = distribution
            .iter()
            .map(|&(token, probability)| {
                let count = all
                    .iter()
                    .filter(|generated| generated.token_ids == [token])
                    .count();
                (probability, count)
            })
            .collect();
        assert_eq!(
            counts.iter().map(|(_, count)| count).sum::<usize>(),
            DRAWS,
            "a token outside was drawn"
        );
        // Rare tokens are merged, so that every expected count is large enough.
        let (common, rare): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(p, _)| p * DRAWS as f64 > 10.0);
        let rest = rare.iter().fold((0.0, 0), |(p, n), (q, m)| (p + q, n + m));
        let cells: Vec<_> = common
            .into_iter()
            .chain((rest.0 > 1e-4).then_some(rest))
            .collect();
        assert!(cells.len() > 3);
        let (statistic, freedom) = chi_square(&cells, DRAWS);
        // The 99.99 % quantile, by Wilson and Hilferty.
        let f = freedom as f64;
        let quantile = f * (1.0 - 2.0 / (9.0 * f) + 3.719 * (2.0 / (9.0 * f)).sqrt()).powi(3);
        assert!(
            statistic < quantile,
            "{statistic} with {freedom} degrees of freedom"
        );
    }
}
