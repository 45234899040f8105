//! Generation: independence of the batch, seeds, stops, prefixes, and the likelihood of the generated text.

use std::ops::ControlFlow;

use burn::tensor::Device;
use cadft_model::generate::{Request, generate, ignore_tokens};
use cadft_model::{CausalLm, Finish, GenerateOptions, Generated, Sampling};
use proptest::prelude::*;
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
        ..GenerateOptions::default()
    }
}

fn warm(seed: u64) -> Sampling {
    Sampling {
        top_k: Some(30),
        min_p: 0.01,
        repetition_penalty: 1.1,
        ..Sampling::nucleus(0.9, 0.95, seed)
    }
}

fn run(requests: &[Request], options: &GenerateOptions) -> Vec<Generated> {
    generate(&model(), requests, options, &mut ignore_tokens).unwrap()
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

/// The generated tokens and log-probabilities, for comparison to the last bit.
fn said(generated: &Generated) -> (&[u32], Finish, Vec<u64>) {
    let bits = generated.log_probs.iter().map(|log_prob| log_prob.to_bits());
    (&generated.token_ids, generated.finish, bits.collect())
}

/// The logits after each position, computed without a cache.
fn teacher_forced(model: &CausalLm, ids: &[u32]) -> Vec<Vec<f32>> {
    let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
    let logits = model.logits(model.hidden_states(tokens(&[&ids], &Device::flex())));
    values(&logits).chunks(40).map(<[f32]>::to_vec).collect()
}

fn log_prob(logits: &[f32], token: u32) -> f64 {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    f64::from(logits[token as usize]) - sum.ln()
}

#[test]
fn greedy_is_the_argmax_of_the_full_forward() {
    let model = model();
    for prompt in prompts() {
        let generated = &run(
            &Request::samples(std::slice::from_ref(&prompt), 1),
            &options(Sampling::greedy()),
        )[0];
        let logits = teacher_forced(&model, &[prompt.as_slice(), &generated.token_ids].concat());
        for (&token, logits) in generated.token_ids.iter().zip(&logits[prompt.len() - 1..]) {
            let best = (0..40).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            assert_eq!(token as usize, best);
        }
    }
}

#[test]
fn log_probs_are_those_of_a_teacher_forced_pass() {
    let model = model();
    let requests = Request::samples(&prompts(), 2);
    for (request, generated) in requests.iter().zip(run(&requests, &options(warm(3)))) {
        let logits = teacher_forced(
            &model,
            &[request.prompt.as_slice(), &generated.token_ids].concat(),
        );
        let steps = generated
            .token_ids
            .iter()
            .zip(&logits[request.prompt.len() - 1..]);
        for ((&token, logits), found) in steps.zip(&generated.log_probs) {
            assert!((log_prob(logits, token) - found).abs() < 2e-5);
        }
    }
}

#[test]
fn a_sequence_does_not_depend_on_its_batch_to_the_last_bit() {
    for sampling in [Sampling::greedy(), warm(1)] {
        let requests = Request::samples(&prompts(), 3);
        let together = run(&requests, &options(sampling.clone()));
        let finishes = |finish| together.iter().any(|generated| generated.finish == finish);
        assert!(finishes(Finish::Stop) && finishes(Finish::Length));
        for batch in [1, 2, 4] {
            let options = GenerateOptions {
                batch,
                ..options(sampling.clone())
            };
            for (together, queued) in together.iter().zip(run(&requests, &options)) {
                assert_eq!(said(together), said(&queued));
            }
        }
        for (request, together) in requests.into_iter().zip(&together) {
            assert_eq!(
                said(together),
                said(&run(&[request], &options(sampling.clone()))[0])
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn queues_of_any_prompts_say_what_each_says_alone(
        prompts in prop::collection::vec((prop::sample::select(vec![0usize, 3, 40, 90]), prop::collection::vec(0u32..40, 1..80)), 1..9),
        batch in 1usize..6,
        seed in 0u64..100,
    ) {
        // Each prompt begins with a common prefix of a random length.
        let prompts: Vec<Vec<u32>> = prompts
            .into_iter()
            .map(|(shared, own)| (0..shared as u32).map(|i| i * 7 % 40).chain(own).collect())
            .collect();
        let requests = Request::samples(&prompts, 1);
        let options = GenerateOptions { batch, max_new_tokens: 5, ..options(warm(seed)) };
        let together = run(&requests, &options);
        for (request, together) in requests.into_iter().zip(&together) {
            let alone = &run(&[request], &options)[0];
            prop_assert_eq!(said(together), said(alone));
        }
    }
}

#[test]
fn more_sequences_than_one_forward_pass_takes_are_cut_into_several() {
    let prompts: Vec<Vec<u32>> = (0..70).map(|i| vec![i % 40, 3, i % 7]).collect();
    let requests = Request::samples(&prompts, 1);
    let options = GenerateOptions {
        batch: 70,
        ..options(warm(8))
    };
    let together = run(&requests, &options);
    for (request, together) in requests.into_iter().zip(&together).step_by(9) {
        assert_eq!(said(together), said(&run(&[request], &options)[0]));
    }
}

#[test]
fn a_common_prefix_is_computed_once() {
    let system: Vec<u32> = (0..50).map(|i| i * 11 % 40).collect();
    let asked = |own: &[u32]| [system.as_slice(), own].concat();
    let options = options(Sampling::greedy());
    let samples = run(&Request::samples(&[asked(&[1, 2, 3])], 4), &options);
    let prefilled = |all: &[Generated]| {
        all.iter()
            .map(|generated| generated.prefilled)
            .collect::<Vec<_>>()
    };
    assert_eq!(prefilled(&samples), [53, 1, 1, 1]);
    let questions = [asked(&[1]), asked(&[2, 2]), vec![9, 9], asked(&[3, 4, 5])];
    let answers = run(&Request::samples(&questions, 1), &options);
    assert_eq!(prefilled(&answers), [51, 2, 2, 3]);
    // One at a time, each prompt reuses what the previous one left in the slot.
    let alone = GenerateOptions { batch: 1, ..options };
    let answers = run(&Request::samples(&[asked(&[1]), asked(&[2, 2])], 1), &alone);
    assert_eq!(prefilled(&answers), [51, 2]);
}

/// A model with linear attention in two of three blocks.
fn recurrent() -> CausalLm {
    let config = tiny(json!({
        "architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "num_hidden_layers": 3, "initializer_range": 0.6, "full_attention_interval": 3,
        "rms_norm_eps": 1e-2,
        "head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 5,
        "linear_value_head_dim": 6,
    }));
    CausalLm::new(&config, &Device::flex(), 11)
}

#[test]
fn with_a_state_a_sequence_does_not_depend_on_its_batch_and_its_prompt_is_computed_once() {
    let model = recurrent();
    let say = |requests: &[Request], options: &GenerateOptions| {
        generate(&model, requests, options, &mut ignore_tokens).unwrap()
    };
    let long: Vec<u32> = (0..70).map(|i| i * 11 % 40).collect();
    let prompts = [prompts(), vec![long.clone()]].concat();
    let requests = Request::samples(&prompts, 3);
    let together = say(&requests, &options(warm(1)));
    let prefilled: Vec<usize> = together.iter().map(|generated| generated.prefilled).collect();
    assert_eq!(prefilled[15..], [70, 0, 0]);
    for batch in [1, 2, 5] {
        let options = GenerateOptions {
            batch,
            ..options(warm(1))
        };
        for (together, queued) in together.iter().zip(say(&requests, &options)) {
            assert_eq!(said(together), said(&queued), "batch {batch}");
        }
    }
    for (request, together) in requests.iter().zip(&together) {
        let logits = teacher_forced(&model, &[request.prompt.as_slice(), &together.token_ids].concat());
        let after = logits[request.prompt.len() - 1..].iter();
        for ((&token, logits), found) in together.token_ids.iter().zip(after).zip(&together.log_probs) {
            let expected = log_prob(logits, token);
            assert!((expected - found).abs() < 2e-5, "{expected} and {found}");
        }
    }
    // A conversation: the state after what was said is continued.
    let first = &say(
        &[Request {
            prompt: long.clone(),
            stream: 0,
        }],
        &options(Sampling::greedy()),
    )[0];
    let held = first.token_ids.len() - 1;
    let next = [long.as_slice(), &first.token_ids[..held], &[7, 8]].concat();
    let options = GenerateOptions {
        batch: 1,
        ..options(Sampling::greedy())
    };
    let both = say(&Request::samples(&[long, next], 1), &options);
    assert_eq!((both[0].prefilled, both[1].prefilled), (70, 2));
}

#[test]
fn sampling_depends_on_the_seed_and_the_stream_only() {
    let requests = Request::samples(&prompts(), 1);
    let all = run(&requests, &options(warm(1)));
    assert_eq!(all, run(&requests, &options(warm(1))));
    assert_ne!(all, run(&requests, &options(warm(2))));
    let moved = Request {
        stream: 77,
        ..requests[3].clone()
    };
    assert_ne!(all[3].token_ids, run(&[moved], &options(warm(1)))[0].token_ids);
    let reversed: Vec<Request> = requests.iter().rev().cloned().collect();
    let backwards = run(&reversed, &options(warm(1)));
    for (forwards, backwards) in all.iter().zip(backwards.iter().rev()) {
        assert_eq!(said(forwards), said(backwards));
    }
}

#[test]
fn sequences_end_at_a_stop_token_or_at_the_length() {
    let mut seen = vec![Vec::new(); prompts().len()];
    let options = options(Sampling::nucleus(1.0, 1.0, 5));
    let all = generate(
        &model(),
        &Request::samples(&prompts(), 1),
        &options,
        &mut |request, token| {
            seen[request].push(token);
            ControlFlow::Continue(())
        },
    )
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
fn the_caller_can_end_a_sequence_and_the_positions_of_the_model_end_the_others() {
    let options = GenerateOptions {
        max_positions: 9,
        stop_token_ids: vec![],
        ..options(Sampling::greedy())
    };
    let requests = Request::samples(&prompts(), 1);
    let mut counts = vec![0; prompts().len()];
    let all = generate(&model(), &requests, &options, &mut |request, _| {
        counts[request] += 1;
        if request == 2 && counts[request] == 4 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    let ended: Vec<_> = all
        .iter()
        .map(|generated| (generated.token_ids.len(), generated.finish))
        .collect();
    let by_length = |tokens| (tokens, Finish::Length);
    assert_eq!(
        ended,
        [
            by_length(4),
            by_length(8),
            (4, Finish::Stop),
            by_length(1),
            by_length(7)
        ]
    );
}

#[test]
fn temperature_zero_and_a_tiny_nucleus_are_greedy() {
    let requests = Request::samples(&prompts(), 1);
    let greedy = run(&requests, &options(Sampling::greedy()));
    for sampling in [
        Sampling::nucleus(1.0, 1e-9, 3),
        Sampling::nucleus(1e-6, 1.0, 3),
        Sampling::nucleus(0.0, 0.5, 3),
        Sampling {
            top_k: Some(1),
            ..Sampling::nucleus(2.0, 1.0, 3)
        },
        Sampling {
            min_p: 1.0,
            ..Sampling::nucleus(2.0, 1.0, 3)
        },
    ] {
        assert_eq!(run(&requests, &options(sampling)), greedy);
    }
}

#[test]
fn senseless_requests_are_refused() {
    let refuse = |prompts: &[Vec<u32>], options: &GenerateOptions| {
        generate(
            &model(),
            &Request::samples(prompts, 1),
            options,
            &mut ignore_tokens,
        )
        .unwrap_err()
        .to_string()
    };
    let greedy = options(Sampling::greedy());
    let message = refuse(&[vec![1], vec![], vec![40]], &greedy);
    assert!(message.contains("prompt `1` has no tokens") && message.contains("prompt `2` holds token `40`"));
    let short = GenerateOptions {
        max_positions: 3,
        ..greedy.clone()
    };
    let message = refuse(&[vec![1, 1], vec![1; 3]], &short);
    assert!(
        message.contains("prompt `1` has `3` tokens, and the model `3` positions"),
        "{message}"
    );
    for (batch, max_new_tokens, name) in [(0, 1, "`batch`"), (1, 0, "`max_new_tokens`")] {
        let options = GenerateOptions {
            batch,
            max_new_tokens,
            ..greedy.clone()
        };
        assert!(refuse(&[vec![1]], &options).contains(name));
    }
    let senseless = Sampling {
        temperature: -1.0,
        top_k: Some(0),
        top_p: f64::NAN,
        min_p: 1.5,
        repetition_penalty: 0.0,
        seed: 0,
    };
    let message = refuse(&[vec![1]], &options(senseless));
    for name in ["temperature", "top_k", "top_p", "min_p", "repetition_penalty"] {
        assert!(message.contains(&format!("`{name}` is `")), "{message}");
    }
}

#[test]
fn logits_that_are_not_numbers_are_an_error_that_names_the_prompt() {
    let mut model = model();
    let weight = model.model.norm.weight.val();
    let broken = weight.clone().mul_scalar(f32::NAN);
    model.model.norm.weight = burn::module::Param::from_tensor(broken);
    let requests = Request::samples(&prompts(), 1);
    let error = generate(
        &model,
        &requests,
        &options(Sampling::greedy()),
        &mut ignore_tokens,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("prompt `0`: the logits after `0` new tokens are not finite"),
        "{error}"
    );
}

#[test]
fn with_longrope_an_answer_ends_at_the_length_of_the_pretraining() {
    let fixture =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-phi3-tied");
    let model = cadft_model::checkpoint::load(&fixture, &Device::flex())
        .unwrap()
        .model;
    let options = GenerateOptions {
        max_new_tokens: 12,
        sampling: Sampling::greedy(),
        ..GenerateOptions::default()
    };
    let answer = |prompt: Vec<u32>| {
        generate(
            &model,
            &Request::samples(&[prompt], 1),
            &options,
            &mut ignore_tokens,
        )
    };
    // The maximum length is 3.
    let [answer_of_one] = answer(vec![5]).unwrap().try_into().unwrap();
    assert_eq!(
        (answer_of_one.token_ids.len(), answer_of_one.finish),
        (2, Finish::Length)
    );
    let error = cadft_files::with_hints(&answer(vec![5, 6, 7]).unwrap_err());
    assert!(
        error.contains("prompt `0` has `3` tokens") && error.contains("LongRoPE"),
        "{error}"
    );
}
