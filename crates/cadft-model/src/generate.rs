//! Text generation: a queue of prompts, a batch that sequences enter and leave, and one random stream per sequence.
//!
//! The keys and values of a sequence are stored in one slot of a [`KvCache`](crate::KvCache). When a sequence ends, its
//! slot is free for the next prompt of the queue. A prefix that a prompt shares with a slot is copied, not computed
//! again. So several samples of one prompt, or a common system prompt, are computed once. The generated text depends
//! only on the prompt, the settings and the random stream, never on other sequences; on Flex not even in the last bit.

use burn::module::Module;

use crate::decoder::CausalLm;
use crate::error::ModelError;

mod awake;
mod engine;
mod ranking;
mod room;
mod sampler;
mod sampling;

use engine::Engine;
pub use room::{SequenceBytes, sequence_bytes};
pub use sampling::Sampling;
use std::ops::ControlFlow;

/// Settings of generation.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Limit for the number of new tokens of a sequence.
    pub max_new_tokens: usize,
    /// Limit for the number of tokens of prompt and text together: the length that the model supports
    /// (`max_position_embeddings`).
    pub max_positions: usize,
    /// Tokens that end a sequence; the result includes the stop token. If the list is empty, sequences end at a length
    /// limit.
    pub stop_token_ids: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Number of sequences that are generated at the same time. It affects memory and speed, not the text.
    pub batch: usize,
}

impl Default for GenerateOptions {
    /// Greedy, 256 tokens, no stop token, no limit of positions, 32 sequences at a time.
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            max_positions: usize::MAX,
            stop_token_ids: vec![],
            sampling: Sampling::greedy(),
            batch: 32,
        }
    }
}

/// A request for one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The tokens to continue.
    pub prompt: Vec<u32>,
    /// The random stream of [`Sampling::seed`] for this sequence. Samples of the same prompt need different streams.
    pub stream: u64,
}

impl Request {
    /// `samples` requests for each prompt, prompt by prompt. Streams are numbered from 0.
    #[must_use]
    pub fn samples(prompts: &[Vec<u32>], samples: usize) -> Vec<Self> {
        (0..)
            .zip(
                prompts
                    .iter()
                    .flat_map(|prompt| std::iter::repeat_n(prompt, samples)),
            )
            .map(|(stream, prompt)| Self {
                prompt: prompt.clone(),
                stream,
            })
            .collect()
    }
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It generated a stop token, or [`OnToken`] ended it.
    Stop,
    /// It reached `max_new_tokens` or `max_positions`.
    Length,
}

/// A generated sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens, including the stop token.
    pub token_ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// The log-probability of each new token under the model, before penalty, temperature and cuts.
    pub log_probs: Vec<f64>,
    /// Number of prompt tokens that were computed; the others were copied from sequences with the same beginning.
    pub prefilled: usize,
}

/// A callback with the index of the request and each token as it is generated. `Break` ends the sequence after that
/// token.
pub type OnToken<'a> = dyn FnMut(usize, u32) -> ControlFlow<()> + 'a;

/// An [`OnToken`] callback that does nothing.
pub fn ignore_tokens(_request: usize, _token: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Generates a sequence for every request. The results are in the order of the requests.
///
/// With `longrope`, a sequence ends at the context length of the pretraining: beyond it all keys would have to be
/// computed again.
///
/// # Errors
/// Before any computation: if a prompt is empty, leaves no room in `max_positions` or contains a token outside the
/// vocabulary, or if an option is invalid. Later: if the logits are not a distribution, for example because weights are
/// not finite.
///
/// # Examples
///
/// ```
/// use cadft_model::generate::{Request, generate, ignore_tokens};
/// use cadft_model::{CausalLm, GenerateOptions, ModelConfig, Sampling};
///
/// let config = ModelConfig::from_json(
///     r#"{"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
///         "num_hidden_layers": 2, "num_attention_heads": 4}"#,
/// )?;
/// let model = CausalLm::new(&config, &burn::tensor::Device::default(), 1);
/// let options = GenerateOptions {
///     max_new_tokens: 8,
///     sampling: Sampling::nucleus(0.7, 0.9, 42),
///     ..GenerateOptions::default()
/// };
/// let answers = generate(&model, &Request::samples(&[vec![5, 6]], 3), &options, &mut ignore_tokens)?;
/// assert_eq!(answers.len(), 3);
/// assert!(answers.iter().all(|answer| answer.token_ids.len() == 8));
/// # Ok::<(), cadft_model::ModelError>(())
/// ```
pub fn generate(
    model: &CausalLm,
    requests: &[Request],
    options: &GenerateOptions,
    on_token: &mut OnToken<'_>,
) -> Result<Vec<Generated>, ModelError> {
    let model = model.valid();
    let [vocab, _] = model.output_weight().dims();
    let cached = model.cached_positions().unwrap_or(usize::MAX);
    let options = GenerateOptions {
        max_positions: options.max_positions.min(cached),
        ..options.clone()
    };
    check(requests, &options, vocab)?;
    Engine::new(&model, requests, &options).run(on_token)
}

/// Checks the options; if they are valid, checks the prompts and reports the first few problems.
fn check(requests: &[Request], options: &GenerateOptions, vocab: usize) -> Result<(), ModelError> {
    const SHOWN: usize = 5;
    options.sampling.check()?;
    for (name, value) in [
        ("batch", options.batch),
        ("max_new_tokens", options.max_new_tokens),
    ] {
        if value == 0 {
            return Err(ModelError::Generate {
                message: format!("`{name}` is `0`; expected at least 1"),
                hints: vec![],
            });
        }
    }
    let problems: Vec<Problem> = requests
        .iter()
        .enumerate()
        .filter_map(|(index, request)| problem(index, &request.prompt, options, vocab))
        .take(SHOWN)
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        let (messages, mut hints): (Vec<String>, Vec<_>) = problems.into_iter().unzip();
        hints.dedup();
        Err(ModelError::Generate {
            message: messages.join("\n"),
            hints,
        })
    }
}

/// What is wrong with a prompt, and the hint.
type Problem = (String, &'static str);

fn problem(index: usize, prompt: &[u32], options: &GenerateOptions, vocab: usize) -> Option<Problem> {
    let positions = options.max_positions;
    if prompt.is_empty() {
        return Some((
            format!("prompt `{index}` has no tokens"),
            "a model goes on from at least one token",
        ));
    }
    if prompt.len() >= positions {
        let tokens = prompt.len();
        return Some((
            format!("prompt `{index}` has `{tokens}` tokens, and the model `{positions}` positions"),
            "shorten the prompt; with LongRoPE, text is generated up to the length of the pretraining",
        ));
    }
    let token = prompt.iter().find(|&&token| token as usize >= vocab)?;
    Some((
        format!("prompt `{index}` holds token `{token}`; the model has `{vocab}` tokens"),
        "the tokenizer may belong to another model",
    ))
}
