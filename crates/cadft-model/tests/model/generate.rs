//! Generation: independence of the batch, seeds, stops, and the nucleus' exact boundary.

use burn::tensor::Device;
use cadft_model::generate::{generate, nucleus};
use cadft_model::{CausalLm, Finish, GenerateOptions, Generated, Sampling};
use serde_json::json;

use crate::{tiny, tokens, values};

fn model() -> CausalLm {
    CausalLm::new(&tiny(json!({"initializer_range": 0.6})), &Device::flex(), 11)
}

fn options(sampling: Sampling) -> GenerateOptions {
    GenerateOptions {
        max_new_tokens: 12,
        stop_token_ids: vec![2, 17],
        sampling,
    }
}

fn run(prompts: &[Vec<u32>], options: &GenerateOptions) -> Vec<Generated> {
    generate(&model(), prompts, options, &mut |_, _| {}).unwrap()
}

fn prompts() -> Vec<Vec<u32>> {
    vec![
        vec![3, 14, 15, 9, 26],
        vec![5],
        vec![35, 8, 9],
        vec![7, 9, 3, 2, 3, 8, 4, 6],
        vec![1, 1],
    ]
}

#[test]
fn greedy_is_the_argmax_of_the_full_forward() {
    let (model, device) = (model(), Device::flex());
    for prompt in prompts() {
        let generated = &run(std::slice::from_ref(&prompt), &options(Sampling::Greedy))[0];
        let mut ids: Vec<i64> = prompt.iter().map(|&id| id.into()).collect();
        for (&token, &log_prob) in generated.token_ids.iter().zip(&generated.log_probs) {
            let logits = model.logits(model.hidden_states(tokens(&[&ids], &device)));
            let last = &values(&logits)[(ids.len() - 1) * 40..];
            let best = (0..40).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
            assert_eq!(token as usize, best);
            let sum: f64 = last.iter().map(|&logit| f64::from(logit).exp()).sum();
            assert!((f64::from(last[best]) - sum.ln() - log_prob).abs() < 1e-4);
            ids.push(token.into());
        }
    }
}

#[test]
fn a_sequence_does_not_depend_on_its_companions() {
    let together = run(&prompts(), &options(Sampling::Greedy));
    assert!(
        together.iter().any(|g| g.finish == Finish::Stop)
            && together.iter().any(|g| g.finish == Finish::Length)
    );
    for (prompt, together) in prompts().into_iter().zip(&together) {
        let alone = &run(&[prompt], &options(Sampling::Greedy))[0];
        assert_eq!(
            (&alone.token_ids, alone.finish),
            (&together.token_ids, together.finish)
        );
    }
}

#[test]
fn sampling_depends_on_the_seed_and_the_place_in_the_list_only() {
    let sampling = |seed| {
        options(Sampling::Nucleus {
            temperature: 0.9,
            top_p: 0.95,
            seed,
        })
    };
    let all = run(&prompts(), &sampling(1));
    assert_eq!(all, run(&prompts(), &sampling(1)));
    assert_ne!(all, run(&prompts(), &sampling(2)));
    let mut others = prompts();
    others[0] = vec![30; 20];
    others.truncate(3);
    for (a, b) in all.iter().zip(run(&others, &sampling(1))).skip(1) {
        assert_eq!(a.token_ids, b.token_ids);
    }
}

#[test]
fn sequences_end_at_a_stop_token_or_at_the_length() {
    let mut seen = vec![Vec::new(); prompts().len()];
    let options = options(Sampling::Nucleus {
        temperature: 1.0,
        top_p: 1.0,
        seed: 5,
    });
    let all = generate(&model(), &prompts(), &options, &mut |index, token| {
        seen[index].push(token);
    })
    .unwrap();
    for (generated, seen) in all.iter().zip(&seen) {
        assert_eq!(&generated.token_ids, seen);
        assert_eq!(generated.log_probs.len(), seen.len());
        let stops: Vec<_> = seen
            .iter()
            .map(|token| options.stop_token_ids.contains(token))
            .collect();
        let (last, before) = stops.split_last().unwrap();
        assert!(!before.contains(&true));
        match generated.finish {
            Finish::Stop => assert!(last),
            Finish::Length => assert!(!last && seen.len() == 12),
        }
    }
}

#[test]
fn a_tiny_nucleus_is_greedy() {
    let narrow = run(
        &prompts(),
        &options(Sampling::Nucleus {
            temperature: 1.0,
            top_p: 1e-9,
            seed: 3,
        }),
    );
    assert_eq!(narrow, run(&prompts(), &options(Sampling::Greedy)));
}

#[test]
fn the_nucleus_is_the_smallest_set_that_reaches_its_mass() {
    let ids = |probabilities: &[f64], top_p| {
        nucleus(probabilities, top_p)
            .iter()
            .map(|&(id, _)| id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[0.125, 0.5, 0.125, 0.25], 0.5), [1]);
    assert_eq!(ids(&[0.125, 0.5, 0.125, 0.25], 0.500_001), [1, 3]);
    assert_eq!(ids(&[0.125, 0.5, 0.125, 0.25], 0.875), [1, 3, 0]);
    assert_eq!(ids(&[0.125, 0.5, 0.125, 0.25], 1.0), [1, 3, 0, 2]);
    assert_eq!(ids(&[0.25, 0.25, 0.25, 0.25], 0.5), [0, 1]);
    assert_eq!(ids(&[0.5, 0.5], 0.0), [0]);
}

#[test]
fn frequencies_of_draws_are_the_probabilities_of_the_nucleus() {
    // With one position and a fixed prompt, many copies of the prompt are many draws.
    let prompts = vec![vec![3u32, 14]; 4000];
    let one = GenerateOptions {
        max_new_tokens: 1,
        ..options(Sampling::Nucleus {
            temperature: 1.3,
            top_p: 0.8,
            seed: 9,
        })
    };
    let all = run(&prompts, &one);
    let logits = model().logits(model().hidden_states(tokens(&[&[3, 14]], &Device::flex())));
    let scaled: Vec<f64> = values(&logits)[40..]
        .iter()
        .map(|&logit| (f64::from(logit) / 1.3).exp())
        .collect();
    let sum: f64 = scaled.iter().sum();
    let kept = nucleus(&scaled.iter().map(|value| value / sum).collect::<Vec<_>>(), 0.8);
    let mass: f64 = kept.iter().map(|(_, probability)| probability).sum();
    let mut total = 0;
    for (token, probability) in kept {
        let count = all
            .iter()
            .filter(|generated| generated.token_ids == [token])
            .count();
        total += count;
        let expected = probability / mass;
        assert!(
            (count as f64 / 4000.0 - expected).abs() < 4.0 * (expected / 4000.0).sqrt(),
            "token {token}"
        );
    }
    assert_eq!(total, 4000);
}

#[test]
fn senseless_requests_are_refused() {
    let refuse = |prompts: &[Vec<u32>], sampling| {
        generate(&model(), prompts, &options(sampling), &mut |_, _| {})
            .unwrap_err()
            .to_string()
    };
    assert!(refuse(&[vec![1], vec![]], Sampling::Greedy).contains("prompt `1`"));
    assert!(refuse(&[vec![40]], Sampling::Greedy).contains("`40`"));
    let nucleus = |temperature, top_p| Sampling::Nucleus {
        temperature,
        top_p,
        seed: 0,
    };
    assert!(refuse(&[vec![1]], nucleus(0.0, 0.9)).contains("`temperature`"));
    assert!(refuse(&[vec![1]], nucleus(1.0, 0.0)).contains("`top_p`"));
    assert!(refuse(&[vec![1]], nucleus(1.0, f64::NAN)).contains("`top_p`"));
}
