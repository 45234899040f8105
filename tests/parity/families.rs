//! A tiny model of every family by transformers: hidden states, logits, loss, every gradient by name, ten optimizer
//! steps (`python/tiny_llama.py`, `python/families.py`).

use burn::tensor::Device;
use cadft_model::{CausalLm, ModelConfig, SaveOptions, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, F32, TEN_STEPS, devices, fixture, trained};

use super::MODELS;
use super::training::{assert_all, gradients, loss, ten_steps};
use std::fs;

fn for_every_model(check: impl Fn(&str, CausalLm, &Arrays, &Device)) {
    for (_, device) in devices() {
        let device = device.autodiff();
        for name in MODELS {
            let model = checkpoint::load(&fixture(name), &device)
                .expect("the fixture loads")
                .model;
            check(
                name,
                model,
                &Arrays::read(&format!("{name}/expected.safetensors")),
                &device,
            );
        }
    }
}

#[test]
fn hidden_states_of_every_layer_and_logits_equal_transformers() {
    for_every_model(|name, model, expected, device| {
        let ids = expected.ids::<2>("input_ids", device);
        let states = model.all_hidden_states(ids);
        let last = states.len() - 1;
        for (index, state) in states.iter().enumerate() {
            let key = match index {
                0 => "hidden.embedding".to_owned(),
                _ if index == last => "hidden.norm".to_owned(),
                _ => format!("hidden.layers.{}", index - 1),
            };
            F32.assert_close(
                &format!("{name}: {key}"),
                &values(state.clone()),
                expected.values(&key),
            );
        }
        let logits = model.logits(states[last].clone());
        F32.assert_close(
            &format!("{name}: logits"),
            &values(logits),
            expected.values("logits"),
        );
    });
}

#[test]
fn loss_and_every_gradient_by_name_equal_transformers() {
    for_every_model(|name, model, expected, device| {
        let loss = loss(&model, &expected.ids::<2>("input_ids", device));
        F32.assert_close(
            &format!("{name}: loss"),
            &values(loss.clone()),
            expected.values("loss"),
        );
        assert_all("grad", name, &gradients(&model, &loss), expected, F32);
    });
}

#[test]
fn ten_clipped_adamw_steps_equal_pytorch() {
    for_every_model(|name, model, expected, device| {
        let ids = expected.ids::<2>("input_ids", device);
        let model = ten_steps(name, model, &ids, expected, TEN_STEPS);
        assert_all("trained", name, &trained(&model), expected, TEN_STEPS);
    });
}

#[test]
fn a_language_model_beside_a_vision_tower_is_that_model_alone() {
    for (_, device) in devices() {
        for (family, model_type) in [("qwen3-5", "qwen3_5_text"), ("gemma4", "gemma4_text")] {
            let [beside, alone] = ["tower", "tied"].map(|end| {
                let directory = fixture(&format!("tiny-{family}-{end}"));
                checkpoint::load(&directory, &device).expect("the fixture loads")
            });
            assert!(beside.config.without_tower && !alone.config.without_tower);
            assert!(beside.config.computes_as(&alone.config), "another computation");
            assert_eq!(trained(&beside.model), trained(&alone.model));
            let out = tempfile::tempdir().expect("a temporary directory");
            let saved = out.path().join("model");
            checkpoint::save(&saved, &beside.model, &beside.config, &SaveOptions::default())
                .expect("it is saved");
            let again = checkpoint::load(&saved, &device).expect("what was saved loads");
            assert!(!again.config.without_tower);
            assert_eq!(again.config.model_type, model_type);
            assert_eq!(trained(&again.model), trained(&alone.model));
        }
    }
}

#[test]
fn weights_are_saved_as_the_bytes_they_were_read_from() {
    let (_, device) = devices().remove(0);
    for name in MODELS {
        let loaded = checkpoint::load(&fixture(name), &device).expect("the fixture loads");
        let out = tempfile::tempdir().expect("a temporary directory");
        let saved = out.path().join("model");
        checkpoint::save(&saved, &loaded.model, &loaded.config, &SaveOptions::default())
            .expect("it is saved");
        let [weights, expected] = [&saved, &fixture(name)]
            .map(|directory| fs::read(directory.join("model.safetensors")).expect("a file"));
        assert!(weights == expected, "{name}: the weights are others");
        let again = ModelConfig::from_file(&saved.join("config.json")).expect("it is read again");
        assert_eq!(again, loaded.config, "{name}: the configuration");
    }
}
