//! A published GGUF file with a SentencePiece tokenizer, Gemma 3 270M, against transformers (`python/gemma3_golden.py`); and published
//! tokenizers of this kind on their way through a GGUF file.

use crate::directory_of;
use burn::tensor::{Device, Int, Tensor, TensorData};
use cadft_data::{SpecialTokens, Tokenizer};
use cadft_model::generate::{generate, ignore_tokens};
use cadft_model::gguf::{GgufDtype, export_gguf, import_gguf};
use cadft_model::{CausalLm, Dtype, GenerateOptions, ModelConfig, Request, SaveOptions, checkpoint};
use cadft_tests::arrays::values;
use cadft_tests::{Arrays, CHECKPOINT_LOGITS, RUN, fixture};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn device() -> Device {
    cadft_train::device::parse("flex").expect("flex is compiled")
}

#[test]
fn gemma_3_270m_equals_transformers() {
    let directory = directory_of("gemma-3-270m", "gemma3");
    let tokenizer = Tokenizer::from_dir(&directory).expect("the tokenizer loads");
    let model = checkpoint::load(&directory, &device())
        .expect("the checkpoint loads")
        .model;
    let golden = Arrays::read("gemma3.safetensors");
    let report = fs::read_to_string(fixture("gemma3.json")).expect("the fixture exists");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let sampled = golden.indices("vocab_ids");
    for (name, text) in report["texts"].as_object().expect("texts") {
        let written = text["text"].as_str().expect("a text");
        let ids = tokenizer.encode_with_special(written).expect("it encodes");
        let found: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        assert_eq!(found, golden.indices(&format!("{name}/ids")), "{name}: ids");
        let seq = ids.len();
        let tensor: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let tensor = Tensor::<2, Int>::from_data(TensorData::new(tensor, [1, seq]), &device());
        let logits = model.logits(model.hidden_states(tensor));
        let [_, _, vocab] = logits.dims();
        let logits = values(logits);
        let positions = golden.indices(&format!("{name}/positions"));
        let mut ours = vec![];
        for at in positions {
            ours.extend(sampled.iter().map(|id| logits[at * vocab + id]));
        }
        let theirs = golden.values(&format!("{name}/logits"));
        CHECKPOINT_LOGITS.assert_close(&format!("{name}: logits"), &ours, theirs);

        let nll = (1..seq).map(|at| {
            let row = &logits[(at - 1) * vocab..at * vocab];
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = row.iter().map(|&logit| (logit - largest).exp()).sum();
            sum.ln() + largest - row[found[at]]
        });
        let nll = nll.sum::<f64>() / (seq - 1) as f64;
        RUN.assert_near(name, nll, text["nll"].as_f64().expect("nll"));

        let greedy = golden.indices(&format!("{name}/greedy"));
        let options = GenerateOptions {
            max_new_tokens: greedy.len(),
            ..GenerateOptions::default()
        };
        let generated = generate(&model, &Request::samples(&[ids], 1), &options, &mut ignore_tokens);
        let generated = generated.expect("it generates").remove(0).token_ids;
        let generated: Vec<usize> = generated.iter().map(|&id| id as usize).collect();
        assert_eq!(generated, greedy, "{name}: greedy tokens");
    }
}

#[test]
fn gemma_3_270m_goes_back_to_the_file_it_came_from() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (file, again) = (scratch.path().join("gemma.gguf"), scratch.path().join("again"));
    let directory = directory_of("gemma-3-270m", "gemma3");
    export_gguf(&directory, &file, GgufDtype::Q4KM).expect("it is written");
    let imported = import_gguf(&file, &again, Dtype::Bf16).expect("it is read");
    // The numbers of tensors of each type in the published file.
    let types: Vec<_> = imported
        .tensor_types
        .iter()
        .map(|(name, &count)| (*name, count))
        .collect();
    assert_eq!(
        types,
        [
            ("F32", 109),
            ("Q4_K", 27),
            ("Q5_0", 81),
            ("Q6_K", 9),
            ("Q8_0", 10)
        ]
    );
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ] {
        let read = |directory: &Path| fs::read(directory.join(name)).expect("a file");
        assert!(read(&directory) == read(&again), "{name}");
    }
}

/// A model that is nothing but as large as its vocabulary.
fn smallest(vocab_size: usize) -> ModelConfig {
    let settings = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab_size, "hidden_size": 8,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true
    });
    serde_json::from_value(settings).expect("a configuration")
}

#[test]
fn published_tokenizers_split_a_book_alike_after_their_way_through_a_file() {
    for (name, vocab_size) in [("llama2", 32_000), ("gemma3", 262_145)] {
        let scratch = tempfile::tempdir().expect("a directory");
        let [source, again] = ["source", "again"].map(|folder| scratch.path().join(folder));
        let file = scratch.path().join("model.gguf");
        let published = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../models/tokenizers")
            .join(name);
        let config = smallest(vocab_size);
        let model = CausalLm::new(&config, &device(), 1);
        let options = SaveOptions {
            carry_from: Some(published.clone()),
            ..SaveOptions::default()
        };
        checkpoint::save(&source, &model, &config, &options).expect("it is saved");
        export_gguf(&source, &file, GgufDtype::F16).expect("it is written");
        import_gguf(&file, &again, Dtype::F16).expect("it is read");
        let [before, after] =
            [&published, &again].map(|from| Tokenizer::from_dir(from).expect("a tokenizer"));
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/guide");
        let mut texts: Vec<String> = fs::read_dir(pages)
            .expect("pages")
            .map(|page| fs::read_to_string(page.expect("a page").path()).expect("text"))
            .collect();
        texts.push("  two  spaces\n\nlines\tTAB \u{200b} 漢字 한국어 العربية हिन्दी 🙂🇫🇷 é ﬁ".to_owned());
        for text in texts {
            // The sign for a space is decoded to a space.
            let text = text.replace('\u{2581}', "_");
            let ids = after.encode_with_special(&text).expect("it encodes");
            assert_eq!(
                ids,
                before.encode_with_special(&text).expect("it encodes"),
                "{name}"
            );
            let decoded = after.decode(&ids, SpecialTokens::Skip).expect("it decodes");
            assert!(decoded == text, "{name}: `{decoded}`");
        }
    }
}
