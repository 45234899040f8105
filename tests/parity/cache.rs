//! The states are the same however a sequence is run: whole, in parts with a cache, padded and with rows of other
//! lengths, or packed. Also the greedy text of transformers.

use burn::tensor::{Device, Int, Tensor, TensorData};
use cadft_model::generate::{generate, ignore_tokens};
use cadft_model::{
    CausalLm, Checkpoint, GenerateOptions, KvCache, ModelConfig, Packing, Request, RopeScaling, checkpoint,
};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, F32, devices, fixture};
use std::cell::Cell;

use super::MODELS;

/// Row 0 of the fixture, and two other rows.
const ROWS: [[i64; 11]; 2] = [
    [3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9],
    [2, 7, 1, 8, 28, 18, 28, 4, 5, 9, 0],
];

fn for_every_model(check: impl Fn(&str, &Checkpoint, &Device)) {
    for (_, device) in devices() {
        for name in MODELS {
            let checkpoint = checkpoint::load(&fixture(name), &device).expect("the fixture loads");
            check(name, &checkpoint, &device);
        }
    }
}

/// Whether a sequence depends on the length of the others in its batch, by its model's rule for rotary frequencies.
fn depends_on_length(config: &ModelConfig) -> bool {
    match config.rope_scaling {
        RopeScaling::Dynamic {
            original_max_position_embeddings: original,
            ..
        }
        | RopeScaling::LongRope {
            original_max_position_embeddings: original,
            ..
        } => original < 32.0,
        _ => false,
    }
}

fn tokens(rows: &[&[i64]], device: &Device) -> Tensor<2, Int> {
    let width = rows[0].len();
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), width]), device)
}

fn alone(model: &CausalLm, row: &[i64], device: &Device) -> Vec<f64> {
    values(model.hidden_states(tokens(&[row], device)))
}

#[test]
fn prefill_and_decode_equal_the_full_forward() {
    for_every_model(|name, Checkpoint { model, config, .. }, device| {
        if depends_on_length(config) {
            return;
        }
        let expected = alone(model, &ROWS[0], device);
        for parts in [vec![1; 11], vec![6, 1, 1, 1, 2], vec![3, 8]] {
            let mut cache = KvCache::new(config, 1, 4);
            let mut start = 0;
            let states = parts.iter().map(|length| {
                let part = &ROWS[0][start..start + length];
                start += length;
                model.hidden_states_with_cache(tokens(&[part], device), &mut cache)
            });
            let found = values(Tensor::cat(states.collect(), 1));
            F32.assert_close(&format!("{name}: {parts:?}"), &found, &expected);
        }
    });
}

#[test]
fn padding_and_rows_of_other_length_change_nothing() {
    for_every_model(|name, Checkpoint { model, config, .. }, device| {
        if depends_on_length(config) {
            return;
        }
        let [long, short] = [&ROWS[0][..], &ROWS[1][..7]];
        let expected = alone(model, short, device);
        let right = [short, &[0; 4]].concat();
        let found = model
            .hidden_states(tokens(&[long, &right], device))
            .slice([1..2, 0..7]);
        F32.assert_close(&format!("{name}: right"), &values(found), &expected);

        if config.linear_attention.is_some() {
            return; // its state cannot go back
        }
        // With a cache: first nine positions at once, of which the last two of the short row are dropped; then one by
        // one.
        let mut cache = KvCache::new(config, 2, 4);
        let first = model.hidden_states_with_cache(tokens(&[&long[..9], &right[..9]], device), &mut cache);
        cache.truncate(1, 6);
        let next = tokens(&[&long[9..10], &short[6..]], device);
        let next = model.hidden_states_with_cache(next, &mut cache);
        cache.set_rows(&[0]);
        let last = model.hidden_states_with_cache(tokens(&[&long[10..]], device), &mut cache);
        let part =
            |states: &Tensor<3>, row: usize, length: usize| states.clone().slice([row..row + 1, 0..length]);
        let found = Tensor::cat(vec![part(&first, 1, 6), part(&next, 1, 1)], 1);
        F32.assert_close(&format!("{name}: short"), &values(found), &expected);
        let found = Tensor::cat(vec![part(&first, 0, 9), part(&next, 0, 1), last], 1);
        F32.assert_close(
            &format!("{name}: long"),
            &values(found),
            &alone(model, long, device),
        );
    });
}

#[test]
fn packed_samples_equal_single_samples() {
    for_every_model(|name, Checkpoint { model, config, .. }, device| {
        if depends_on_length(config) {
            return;
        }
        let packing = Packing {
            lengths: vec![vec![6, 4], vec![1, 2, 8]],
        };
        let packed = model.hidden_states_packed(tokens(&[&ROWS[0], &ROWS[1]], device), &packing);
        for (row, lengths) in packing.lengths.iter().enumerate() {
            let mut start = 0;
            for length in lengths {
                let part = start..start + length;
                let found = values(packed.clone().slice([row..row + 1, part.clone()]));
                let expected = alone(model, &ROWS[row][part.clone()], device);
                F32.assert_close(&format!("{name}: row {row}, {part:?}"), &found, &expected);
                start = part.end;
            }
        }
    });
}

#[test]
fn padding_on_the_left_is_a_segment_of_its_own_and_changes_nothing() {
    for_every_model(|name, Checkpoint { model, config, .. }, device| {
        if depends_on_length(config) {
            return;
        }
        let sample = &ROWS[0][..7];
        let padded = [&[0; 4], sample].concat();
        let packing = Packing {
            lengths: vec![vec![11], vec![4, 7]],
        };
        let states = model.hidden_states_packed(tokens(&[&ROWS[1], &padded], device), &packing);
        let found = values(states.slice([1..2, 4..11]));
        F32.assert_close(
            &format!("{name}: 4 of padding"),
            &found,
            &alone(model, sample, device),
        );
    });
}

/// The most likely token after each prompt, without a cache.
fn greedy_without_cache(model: &CausalLm, prompt: &[u32], count: usize, device: &Device) -> Vec<u32> {
    let mut ids: Vec<i64> = prompt.iter().map(|&id| id.into()).collect();
    for _ in 0..count {
        let logits = model.logits(model.hidden_states(tokens(&[&ids], device)));
        let last = values(logits.slice_dim(1, ids.len() - 1..ids.len()));
        let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]));
        ids.push(best.expect("a vocabulary") as i64);
    }
    ids[prompt.len()..]
        .iter()
        .map(|&id| u32::try_from(id).expect("a token id"))
        .collect()
}

#[test]
fn greedy_text_equals_transformers_with_and_without_a_cache() {
    let compared = Cell::new(0);
    for_every_model(|name, Checkpoint { model, config, .. }, device| {
        let arrays = Arrays::read(&format!("{name}/expected.safetensors"));
        if !arrays.names().any(|name| name == "greedy") {
            return;
        }
        compared.set(compared.get() + 1);
        let ids = |name| {
            arrays
                .indices(name)
                .into_iter()
                .map(|id| u32::try_from(id).expect("a token id"))
        };
        let (rows, expected): (Vec<u32>, Vec<u32>) = (ids("input_ids").collect(), ids("greedy").collect());
        let prompts: Vec<Vec<u32>> = rows.chunks(11).map(|row| row[..5].to_vec()).collect();
        let count = expected.len() / prompts.len();
        let options = GenerateOptions {
            max_new_tokens: count,
            ..GenerateOptions::default()
        };
        let requests = Request::samples(&prompts, 1);
        let found = generate(model, &requests, &options, &mut ignore_tokens).expect("the prompts are valid");
        for ((prompt, found), expected) in prompts.iter().zip(found).zip(expected.chunks(count)) {
            assert_eq!(found.token_ids, expected, "{name}");
            if !depends_on_length(config) {
                assert_eq!(
                    greedy_without_cache(model, prompt, count, device),
                    expected,
                    "{name}"
                );
            }
        }
    });
    assert!(compared.get() > 0, "no fixture has greedy text");
}
