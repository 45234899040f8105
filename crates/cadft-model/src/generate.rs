//! Batched text generation, greedy or by nucleus sampling.
//!
//! Prompts of different length are aligned at their end, the padding on the left being masked and not counted in
//! positions. A sequence that has finished leaves the batch. Each sequence draws from its own random stream, so what
//! it says does not depend on its companions.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::cache::KvCache;
use crate::decoder::CausalLm;
use crate::error::ModelError;

mod sampler;

use sampler::Sampler;
pub use sampler::{Sampling, nucleus};

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens a sequence may get.
    pub max_new_tokens: usize,
    /// Tokens that end a sequence; the one that did is part of the result.
    pub stop_token_ids: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It chose a stop token.
    Stop,
    /// It reached `max_new_tokens`.
    Length,
}

/// A generated sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens, the stop token included.
    pub token_ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// The log-probability of each new token under the model itself, without temperature and nucleus.
    pub log_probs: Vec<f64>,
}

/// Called with the index of the prompt and each token as it is chosen.
pub type OnToken<'a> = dyn FnMut(usize, u32) + 'a;

/// Continues every prompt.
///
/// The whole of `prompts` is one batch; callers split larger sets.
///
/// # Errors
/// When a prompt is empty or holds a token outside the vocabulary, and when the sampling options make no sense.
pub fn generate(
    model: &CausalLm,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    on_token: &mut OnToken<'_>,
) -> Result<Vec<Generated>, ModelError> {
    let model = model.valid();
    let [vocab, _] = model.output_weight().dims();
    check(prompts, options, vocab)?;
    let mut sequences: Vec<_> = (0..prompts.len())
        .map(|index| Sequence::new(index, options))
        .collect();
    if options.max_new_tokens == 0 || prompts.is_empty() {
        return Ok(sequences.into_iter().map(|sequence| sequence.generated).collect());
    }

    let device = model.device();
    let (tokens, left_padding) = pad_left(prompts, &device);
    let mut cache = KvCache::with_layers(model.model.layers.len(), left_padding);
    let mut logits = next_logits(&model, tokens, &mut cache);
    let mut active: Vec<usize> = (0..prompts.len()).collect();
    loop {
        // The active sequences, in batch order, each with its row of logits.
        let mut rows: Vec<_> = sequences
            .iter_mut()
            .filter(|sequence| active.contains(&sequence.index))
            .collect();
        rows.par_iter_mut()
            .zip(logits.par_chunks(vocab))
            .for_each(|(sequence, logits)| sequence.choose(logits, options));
        for sequence in rows {
            if let Some(&token) = sequence.generated.token_ids.last() {
                on_token(sequence.index, token);
            }
        }
        let going: Vec<usize> = (0..active.len())
            .filter(|&row| !sequences[active[row]].is_finished(options))
            .collect();
        if going.is_empty() {
            return Ok(sequences.into_iter().map(|sequence| sequence.generated).collect());
        }
        if going.len() < active.len() {
            cache.keep_rows(&going);
            active = going.iter().map(|&row| active[row]).collect();
        }
        let last: Vec<i64> = active
            .iter()
            .map(|&index| sequences[index].last_token())
            .collect();
        let tokens = Tensor::from_data(TensorData::new(last, [active.len(), 1]), &device);
        logits = next_logits(&model, tokens, &mut cache);
    }
}

/// One sequence in the making.
struct Sequence {
    index: usize,
    sampler: Sampler,
    generated: Generated,
}

impl Sequence {
    fn new(index: usize, options: &GenerateOptions) -> Self {
        let generated = Generated {
            token_ids: Vec::new(),
            finish: Finish::Length,
            log_probs: Vec::new(),
        };
        Self {
            index,
            sampler: Sampler::new(&options.sampling, index),
            generated,
        }
    }

    /// Appends the next token, given the logits that follow the last one.
    fn choose(&mut self, logits: &[f32], options: &GenerateOptions) {
        let (token, log_prob) = self.sampler.choose(logits);
        self.generated.token_ids.push(token);
        self.generated.log_probs.push(log_prob);
        if options.stop_token_ids.contains(&token) {
            self.generated.finish = Finish::Stop;
        }
    }

    fn is_finished(&self, options: &GenerateOptions) -> bool {
        self.generated.finish == Finish::Stop || self.generated.token_ids.len() >= options.max_new_tokens
    }

    fn last_token(&self) -> i64 {
        self.generated.token_ids.last().map_or(0, |&token| token.into())
    }
}

/// The prompts as one tensor, aligned at their end, and the padding of each.
fn pad_left(prompts: &[Vec<u32>], device: &Device) -> (Tensor<2, Int>, Vec<usize>) {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let left_padding: Vec<_> = prompts.iter().map(|prompt| longest - prompt.len()).collect();
    let tokens: Vec<i64> = prompts
        .iter()
        .zip(&left_padding)
        .flat_map(|(prompt, &padding)| {
            std::iter::repeat_n(0, padding).chain(prompt.iter().map(|&token| i64::from(token)))
        })
        .collect();
    (
        Tensor::from_data(TensorData::new(tokens, [prompts.len(), longest]), device),
        left_padding,
    )
}

/// The logits after the last of `tokens`, row after row.
fn next_logits(model: &CausalLm, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Vec<f32> {
    let [_, seq] = tokens.dims();
    let hidden = model.hidden_states_with_cache(tokens, cache);
    model
        .logits(hidden.slice_dim(1, seq - 1..seq))
        .into_data()
        .iter::<f32>()
        .collect()
}

fn check(prompts: &[Vec<u32>], options: &GenerateOptions, vocab: usize) -> Result<(), ModelError> {
    options.sampling.check()?;
    for (index, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(ModelError::Generate(format!("prompt `{index}` has no tokens")));
        }
        if let Some(token) = prompt.iter().find(|&&token| token as usize >= vocab) {
            return Err(ModelError::Generate(format!(
                "prompt `{index}` holds token `{token}`; the model has `{vocab}` tokens\n\
                 hint: the tokenizer may belong to another model"
            )));
        }
    }
    Ok(())
}
