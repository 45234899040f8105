//! The forward pass: causality, the cache, grouped heads, gradients, names and seeds.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use cadft_model::decoder::Weight;
use cadft_model::parameters::{decays, expected_parameters};
use cadft_model::{CausalLm, KvCache, Packing};
use serde_json::json;

use crate::{assert_close, tiny, tokens, values};

const IDS: [i64; 7] = [3, 14, 15, 9, 26, 5, 35];

#[test]
fn names_and_shapes_are_those_of_the_checkpoint() {
    for changes in [
        json!({}),
        json!({"model_type": "qwen2", "architectures": null}),
        json!({"model_type": "qwen3", "architectures": null, "head_dim": 6}),
        json!({"model_type": "gemma3_text", "architectures": null, "head_dim": 6}),
        json!({"tie_word_embeddings": false, "attention_bias": true, "mlp_bias": true, "head_dim": 6}),
    ] {
        let config = tiny(changes);
        let model = CausalLm::new(&config, &Device::flex(), 0);
        let found: Vec<_> = model
            .named_parameters()
            .into_iter()
            .map(|p| (p.name, p.shape))
            .collect();
        assert_eq!(found, expected_parameters(&config));
        let elements: usize = found
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert_eq!(model.num_params(), elements);
    }
}

#[test]
fn norms_and_biases_do_not_decay() {
    let model = CausalLm::new(&tiny(json!({"attention_bias": true})), &Device::flex(), 0);
    for parameter in model.named_parameters() {
        let [_, ..] = parameter.shape[..] else {
            panic!("scalar parameter")
        };
        assert_eq!(
            decays(&parameter.name),
            parameter.shape.len() == 2,
            "{}",
            parameter.name
        );
    }
}

#[test]
fn parameter_ids_depend_on_the_name_alone() {
    let ids = |seed, layers| {
        let model = CausalLm::new(&tiny(json!({"num_hidden_layers": layers})), &Device::flex(), seed);
        model
            .named_parameters()
            .into_iter()
            .map(|p| (p.name, p.id))
            .collect::<Vec<_>>()
    };
    let (two, three) = (ids(0, 2), ids(1, 3));
    assert!(two.iter().all(|parameter| three.contains(parameter)));
    let mut distinct: Vec<_> = three.iter().map(|(_, id)| *id).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), three.len());
}

#[test]
fn the_seed_decides_the_initial_values() {
    let config = tiny(json!({}));
    let weight = |seed| values(&CausalLm::new(&config, &Device::flex(), seed).output_weight());
    assert_eq!(weight(7), weight(7));
    assert_ne!(weight(7), weight(8));
    let sample = weight(7);
    let mean_square = sample.iter().map(|v| v * v).sum::<f32>() / sample.len() as f32;
    assert!((mean_square.sqrt() / 0.3 - 1.0).abs() < 0.1, "{mean_square}");
}

#[test]
fn later_tokens_and_right_padding_change_nothing_before_them() {
    let device = Device::flex();
    let model = CausalLm::new(&tiny(json!({})), &device, 1);
    let short = values(&model.hidden_states(tokens(&[&IDS[..4]], &device)));
    let long = model.hidden_states(tokens(&[&IDS], &device)).slice_dim(1, 0..4);
    assert_close(&values(&long), &short, 1e-6);
}

/// Two devices for the two kinds of cache: in host memory on plain Flex, in tensors with autodiff.
fn cache_devices() -> [Device; 2] {
    [Device::flex(), Device::flex().autodiff()]
}

#[test]
fn prefill_and_decode_equal_the_full_forward() {
    for device in cache_devices() {
        let config = tiny(json!({"attention_bias": true}));
        let model = CausalLm::new(&config, &device, 2);
        let full = model.hidden_states(tokens(&[&IDS], &device));
        for prefill in [1, 3] {
            let mut cache = KvCache::new(&config, 1, 4);
            let mut parts =
                vec![model.hidden_states_with_cache(tokens(&[&IDS[..prefill]], &device), &mut cache)];
            for id in &IDS[prefill..5] {
                parts.push(model.hidden_states_with_cache(tokens(&[&[*id]], &device), &mut cache));
            }
            parts.push(model.hidden_states_with_cache(tokens(&[&IDS[5..]], &device), &mut cache));
            assert_eq!(cache.len(0), IDS.len());
            assert_close(&values(&Tensor::cat(parts, 1)), &values(&full), 1e-5);
        }
    }
}

#[test]
fn decoding_past_the_room_keeps_earlier_positions() {
    for device in cache_devices() {
        let config = tiny(json!({}));
        let model = CausalLm::new(&config, &device, 2);
        let ids: Vec<i64> = (0..150).map(|i| (i * 7) % 40).collect();
        let full = model.hidden_states(tokens(&[&ids], &device));
        let mut cache = KvCache::new(&config, 1, 8);
        let parts: Vec<_> = ids
            .iter()
            .map(|id| model.hidden_states_with_cache(tokens(&[&[*id]], &device), &mut cache))
            .collect();
        assert_close(&values(&Tensor::cat(parts, 1)), &values(&full), 2e-5);
    }
}

#[test]
fn rows_of_different_length_go_on_in_their_slots() {
    for device in cache_devices() {
        let config = tiny(json!({}));
        let model = CausalLm::new(&config, &device, 3);
        let full = values(&model.hidden_states(tokens(&[&IDS], &device)));
        let at = |position: usize| &full[position * 16..(position + 1) * 16];
        let mut cache = KvCache::new(&config, 3, 4);
        // Two rows of 4 and 2 tokens, the second one padded. The cached padding is removed below.
        cache.set_rows(&[2, 0]);
        let rows = tokens(&[&IDS[..4], &[IDS[0], IDS[1], 0, 0]], &device);
        let both = values(&model.hidden_states_with_cache(rows, &mut cache));
        assert_close(&both[3 * 16..4 * 16], at(3), 1e-5);
        assert_close(&both[5 * 16..6 * 16], at(1), 1e-5);
        cache.truncate(0, 2);
        // A third slot copies the beginning of another.
        cache.copy_prefix(2, 1, 3);
        assert_eq!([0, 1, 2].map(|slot| cache.len(slot)), [2, 3, 4]);
        cache.set_rows(&[0, 1, 2]);
        let next = tokens(&[&[IDS[2]], &[IDS[3]], &[IDS[4]]], &device);
        let next = values(&model.hidden_states_with_cache(next, &mut cache));
        assert_close(&next, &[at(2), at(3), at(4)].concat(), 1e-5);
        // One row continues alone.
        cache.set_rows(&[1]);
        let alone = model.hidden_states_with_cache(tokens(&[&IDS[4..6]], &device), &mut cache);
        assert_close(&values(&alone), &[at(4), at(5)].concat(), 1e-5);
        assert_eq!([0, 1, 2].map(|slot| cache.len(slot)), [3, 6, 5]);
    }
}

#[test]
fn rows_of_the_same_slot_go_on_from_one_another() {
    for device in cache_devices() {
        let config = tiny(json!({}));
        let model = CausalLm::new(&config, &device, 3);
        let full = values(&model.hidden_states(tokens(&[&IDS], &device)));
        let mut cache = KvCache::new(&config, 2, 2);
        // Two sequences, one of them a token behind: first in rows of one token, then in rows of two.
        cache.set_rows(&[1, 0, 1, 1]);
        let rows = tokens(&[&IDS[..1], &IDS[..1], &IDS[1..2], &IDS[2..3]], &device);
        let first = values(&model.hidden_states_with_cache(rows, &mut cache));
        cache.set_rows(&[0, 0]);
        let rows = tokens(&[&IDS[1..3], &IDS[3..5]], &device);
        let second = values(&model.hidden_states_with_cache(rows, &mut cache));
        let at = |positions: &[usize]| -> Vec<f32> {
            let rows = positions
                .iter()
                .map(|position| &full[position * 16..(position + 1) * 16]);
            rows.flatten().copied().collect()
        };
        assert_close(&first, &at(&[0, 0, 1, 2]), 1e-5);
        assert_close(&second, &at(&[1, 2, 3, 4]), 1e-5);
        assert_eq!([0, 1].map(|slot| cache.len(slot)), [5, 3]);
    }
}

/// Rows of 8 positions: 3 + 4 tokens and padding, one of 8 tokens, and 1 + 7 tokens.
fn packed_rows() -> (Packing, Vec<Vec<i64>>) {
    let lengths = vec![vec![3, 4], vec![8], vec![1, 7]];
    let rows = (0..3)
        .map(|row| (0..8).map(|i| (i * 11 + row * 5 + 3) % 40).collect())
        .collect();
    (Packing { lengths }, rows)
}

#[test]
fn packed_samples_equal_single_samples_in_value_and_gradient() {
    let device = Device::flex().autodiff();
    let model = CausalLm::new(&tiny(json!({"attention_bias": true})), &device, 3);
    let (packing, rows) = packed_rows();
    let packed = tokens(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), &device);
    let packed = model.hidden_states_packed(packed, &packing);
    let (mut parts, mut singles) = (Vec::new(), Vec::new());
    for (row, lengths) in packing.lengths.iter().enumerate() {
        let mut start = 0;
        for length in lengths {
            let part = packed.clone().slice([row..row + 1, start..start + length]);
            let single = model.hidden_states(tokens(&[&rows[row][start..start + length]], &device));
            assert_close(&values(&part), &values(&single), 1e-5);
            parts.push(part);
            singles.push(single);
            start += length;
        }
    }
    let gradients = |states: Vec<Tensor<3>>| {
        let loss = states
            .into_iter()
            .map(|state| model.logits(state).square().sum())
            .reduce(|a, b| a + b)
            .unwrap();
        let gradients = loss.backward();
        let attention = model.model.layers[0].self_attn.as_ref().unwrap();
        [&attention.q_proj, &attention.k_proj, &attention.v_proj]
            .map(|linear| values(&linear.as_ref().unwrap().weight.val().grad(&gradients).unwrap()))
            .concat()
    };
    let (found, expected) = (gradients(parts), gradients(singles));
    let scale = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    assert_close(&found, &expected, 1e-5 * scale);
}

#[test]
fn grouped_heads_equal_repeated_heads() {
    let device = Device::flex();
    let grouped = CausalLm::new(&tiny(json!({})), &device, 4);
    let mut full = CausalLm::new(&tiny(json!({"num_key_value_heads": 4})), &device, 4);
    for (full, grouped) in full.model.layers.iter_mut().zip(&grouped.model.layers) {
        let (full, grouped) = (
            full.self_attn.as_mut().unwrap(),
            grouped.self_attn.as_ref().unwrap(),
        );
        let pairs = [
            (&mut full.k_proj, &grouped.k_proj),
            (&mut full.v_proj, &grouped.v_proj),
        ];
        for (full, grouped) in pairs {
            let full = &mut full.as_mut().unwrap().weight;
            let grouped = &grouped.as_ref().unwrap().weight;
            // Rows of head j serve the query heads 2j and 2j + 1.
            let repeated = grouped
                .val()
                .reshape([2, 1, 4, 16])
                .repeat_dim(1, 2)
                .reshape([16, 16]);
            *full = Weight::Dense(full.parameter().unwrap().clone().map(|_| repeated));
        }
    }
    let forward = |model: &CausalLm| values(&model.hidden_states(tokens(&[&IDS], &device)));
    assert_close(&forward(&full), &forward(&grouped), 1e-5);
}

#[test]
fn every_parameter_gets_a_gradient_that_matches_finite_differences() {
    let device = Device::flex().autodiff();
    let config = tiny(json!({"tie_word_embeddings": false, "attention_bias": true, "mlp_bias": true}));
    let model = CausalLm::new(&config, &device, 5);
    let loss = |model: &CausalLm, device: &Device| {
        let hidden = model.hidden_states(tokens(&[&IDS, &[1, 2, 3, 4, 5, 6, 7]], device));
        model.logits(hidden).square().mean()
    };
    let gradients = loss(&model, &device).backward();
    let attention = model.model.layers[0].self_attn.as_ref().unwrap();
    for (name, param) in [
        ("q", &attention.q_proj.as_ref().unwrap().weight),
        ("k", &attention.k_proj.as_ref().unwrap().weight),
        ("v", &attention.v_proj.as_ref().unwrap().weight),
    ] {
        let gradient = values(&param.val().grad(&gradients).unwrap());
        let id = param.parameter().unwrap().id;
        for index in [0, 37, 100] {
            let shifted = |by: f32| {
                let nudged = model.valid().map(&mut Nudge { id, index, by });
                loss(&nudged, &Device::flex()).into_scalar::<f32>()
            };
            let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            let found = gradient[index];
            assert!(
                (numeric - found).abs() < 1e-3 + 2e-2 * found.abs(),
                "{name}[{index}]: {found} {numeric}"
            );
        }
    }
    let mut missing = Vec::new();
    model.visit(&mut WithoutGradient {
        gradients: &gradients,
        missing: &mut missing,
    });
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn all_hidden_states_end_with_the_hidden_states() {
    let device = Device::flex();
    let model = CausalLm::new(&tiny(json!({})), &device, 6);
    let states = model.all_hidden_states(tokens(&[&IDS], &device));
    assert_eq!(states.len(), 4);
    assert_eq!(
        values(&states[3]),
        values(&model.hidden_states(tokens(&[&IDS], &device)))
    );
    assert_eq!(
        values(&states[3]),
        values(&model.model.norm.forward(states[2].clone()))
    );
}

#[test]
fn a_model_without_autodiff_gives_the_same_states() {
    let device = Device::flex().autodiff();
    let model = CausalLm::new(&tiny(json!({})), &device, 6);
    assert!(model.model.norm.weight.val().is_require_grad());
    let valid = model.valid();
    assert!(!valid.device().is_autodiff());
    let hidden = valid.hidden_states(tokens(&[&IDS], &Device::flex()));
    assert_close(
        &values(&hidden),
        &values(&model.hidden_states(tokens(&[&IDS], &device))),
        1e-6,
    );
}

struct Nudge {
    id: burn::module::ParamId,
    index: usize,
    by: f32,
}

impl burn::module::ModuleMapper for Nudge {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<Tensor<D>>,
    ) -> burn::module::Param<Tensor<D>> {
        if param.id != self.id {
            return param;
        }
        param.map(|tensor| {
            let mut data: Vec<f32> = values(&tensor);
            data[self.index] += self.by;
            Tensor::from_data(
                burn::tensor::TensorData::new(data, tensor.shape()),
                &tensor.device(),
            )
        })
    }
}

struct WithoutGradient<'a> {
    gradients: &'a burn::tensor::Gradients,
    missing: &'a mut Vec<burn::module::ParamId>,
}

impl burn::module::ModuleVisitor for WithoutGradient<'_> {
    fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
        if param.val().grad(self.gradients).is_none() {
            self.missing.push(param.id);
        }
    }
}
