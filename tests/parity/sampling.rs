//! The sampling distributions equal those of transformers (`python/sampling_golden.py`).

use cadft_model::Sampling;
use cadft_tests::fixture;
use serde_json::Value;

/// transformers computes in f32.
const TOLERANCE: f64 = 2e-6;

fn sampling(settings: &Value) -> Sampling {
    let number = |key: &str| settings[key].as_f64();
    Sampling {
        temperature: number("temperature").unwrap_or(1.0),
        top_k: settings["top_k"]
            .as_u64()
            .map(|k| usize::try_from(k).expect("small")),
        top_p: number("top_p").unwrap_or(1.0),
        min_p: number("min_p").unwrap_or(0.0),
        repetition_penalty: number("repetition_penalty").unwrap_or(1.0),
        seed: 0,
    }
}

#[test]
fn distributions_equal_those_of_the_logits_processors() {
    let text = std::fs::read_to_string(fixture("sampling.json")).expect("the fixture exists");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("the fixture is JSON");
    assert!(cases.len() > 30);
    for case in &cases {
        let settings = &case["settings"];
        let logits: Vec<f32> = serde_json::from_value(case["logits"].clone()).expect("logits");
        let seen: Vec<u32> = serde_json::from_value(case["seen"].clone()).expect("ids");
        let expected: Vec<f64> =
            serde_json::from_value(case["probabilities"].clone()).expect("probabilities");
        let mut found = vec![0.0; logits.len()];
        for (token, probability) in sampling(settings).distribution(&logits, &seen) {
            found[token as usize] = probability;
        }
        for (token, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(*found > 0.0, *expected > 0.0, "{settings}: token {token}");
            assert!((found - expected).abs() < TOLERANCE, "{settings}: token {token}");
        }
    }
}
