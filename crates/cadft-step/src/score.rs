//! Scores single samples of a data set of any size.

use crate::batch::{MicroBatching, micro_batches};
use crate::forward::supervised_states;
use crate::ranks::Ranks;
use cadft_batch::{Example, Origin};
use cadft_core::reduction::sample_scores;
use cadft_core::{linear_argmax, linear_log_probs};
use cadft_model::CausalLm;
use serde::Serialize;
use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::vec;

/// Limits of a window: its samples, and their tokens. Samples of similar length are grouped within a window, and only
/// one window is in memory: with masks, 80 MiB of tokens.
const WINDOW_SAMPLES: usize = 16_384;
const WINDOW_TOKENS: usize = 16 << 20;

/// Likelihood of one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleScore {
    /// The row's id.
    pub id: String,
    /// Number of its tokens.
    pub tokens: usize,
    /// Number of its supervised tokens.
    pub supervised: usize,
    /// Mean negative log-likelihood over its supervised tokens, nats (CADFT-1).
    pub nll: f64,
    /// Number of supervised tokens that the model ranks first.
    #[serde(skip)]
    pub correct: usize,
    /// The place from which its row was read.
    #[serde(skip)]
    pub origin: Origin,
}

/// The scores of all samples, in order. `model` must be off the autodiff graph.
///
/// Scores are computed lazily. Memory on the host and on the device does not depend on the number of samples.
///
/// ```
/// use burn::tensor::Device;
/// use cadft_batch::{Example, Origin};
/// use cadft_model::{CausalLm, ModelConfig};
/// use cadft_step::score_samples;
///
/// let config = ModelConfig::from_json(
///     r#"{"model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
///         "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32, "tie_word_embeddings": true}"#,
/// )?;
/// let model = CausalLm::new(&config, &Device::flex(), 42);
/// let sample = |id: u32| Example {
///     id: id.to_string(),
///     weight: 1.0,
///     token_ids: vec![1, id, id + 1],
///     loss_mask: vec![false, true, true],
///     prompt_len: 1,
///     answer: None,
///     origin: Origin::default(),
/// };
/// // Any number of samples: they are read and scored window by window.
/// for score in score_samples(&model, (0..8).map(sample), 4) {
///     assert!(score.supervised == 2 && score.nll > 0.0, "{}", score.id);
/// }
/// # Ok::<(), cadft_model::ModelError>(())
/// ```
pub fn score_samples<'a, E: Borrow<Example> + 'a>(
    model: &'a CausalLm,
    samples: impl IntoIterator<Item = E, IntoIter: 'a>,
    micro: usize,
) -> impl Iterator<Item = SampleScore> + 'a {
    score_samples_on(Ranks::solo(), model, samples, micro)
}

/// As [`score_samples`], with the micro-batches distributed among ranks. Every rank gets all scores.
pub fn score_samples_on<'a, E: Borrow<Example> + 'a>(
    ranks: Ranks,
    model: &'a CausalLm,
    samples: impl IntoIterator<Item = E, IntoIter: 'a>,
    micro: usize,
) -> impl Iterator<Item = SampleScore> + 'a {
    score_samples_watched(ranks, model, samples, micro, |_| ControlFlow::Continue(()))
}

/// As [`score_samples_on`]. After each forward pass, `watch` receives the number of samples scored so far. It may
/// break, which ends the scores, if there is only one rank; with several ranks it must always continue.
pub fn score_samples_watched<'a, E: Borrow<Example> + 'a>(
    ranks: Ranks,
    model: &'a CausalLm,
    samples: impl IntoIterator<Item = E, IntoIter: 'a>,
    micro: usize,
    mut watch: impl FnMut(usize) -> ControlFlow<()> + 'a,
) -> impl Iterator<Item = SampleScore> + 'a {
    let mut samples = samples.into_iter();
    let mut scored = vec![].into_iter();
    let (mut before, mut has_ended) = (0, false);
    std::iter::from_fn(move || {
        if scored.len() == 0 && !has_ended {
            let window = window(&mut samples);
            match scores_of(&ranks, model, &window, micro, &mut |done| watch(before + done)) {
                Some(scores) => scored = scores,
                None => has_ended = true,
            }
            before += window.len();
        }
        scored.next()
    })
}

/// The samples of the next window.
fn window<E: Borrow<Example>>(samples: &mut impl Iterator<Item = E>) -> Vec<E> {
    let (mut window, mut tokens) = (vec![], 0);
    while window.len() < WINDOW_SAMPLES && tokens < WINDOW_TOKENS {
        let Some(sample) = samples.next() else { break };
        tokens += sample.borrow().token_ids.len();
        window.push(sample);
    }
    window
}

/// The scores of the samples of a window, micro-batch by micro-batch; `None` if `watch` breaks.
fn scores_of<E: Borrow<Example>>(
    ranks: &Ranks,
    model: &CausalLm,
    samples: &[E],
    micro: usize,
    watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Option<vec::IntoIter<SampleScore>> {
    let samples: Vec<&Example> = samples.iter().map(Borrow::borrow).collect();
    let cut = MicroBatching::rows(micro);
    let mut nlls = vec![0.0; samples.len()];
    let mut correct = vec![0.0; samples.len()];
    let mut done = 0;
    for (_, micro) in
        (micro_batches(&samples, &cut, &model.device()).enumerate()).filter(|(number, _)| ranks.has(*number))
    {
        let states = supervised_states(model, &micro);
        let (weight, options) = (model.output_weight(), model.logit_options());
        let ranked_first =
            linear_argmax(states.clone(), weight.clone(), options.precision).equal(micro.targets.clone());
        let ranked_first: Vec<i64> = ranked_first.int().into_data().iter().collect();
        let log_probs = linear_log_probs(states, weight, micro.targets.clone(), options);
        let log_probs: Vec<f32> = log_probs.into_data().iter().collect();
        let nll = sample_scores(&log_probs, &micro.sample_of, micro.samples.len());
        for (&sample, nll) in micro.samples.iter().zip(nll) {
            nlls[sample] = nll;
        }
        for (&sample, first) in micro.sample_of.iter().zip(ranked_first) {
            correct[micro.samples[sample]] += f64::from(u8::from(first == 1));
        }
        done += micro.samples.len();
        // An estimate: the other ranks have done about as many.
        if watch((done * ranks.count()).min(samples.len())).is_break() {
            return None;
        }
    }
    ranks.exchange(&mut nlls);
    ranks.exchange(&mut correct);
    let scores: Vec<SampleScore> = (samples.iter().zip(nlls).zip(correct))
        .map(|((sample, nll), correct)| SampleScore::new(sample, nll, correct as usize))
        .collect();
    Some(scores.into_iter())
}

impl SampleScore {
    fn new(sample: &Example, nll: f64, correct: usize) -> Self {
        Self {
            id: sample.id.clone(),
            tokens: sample.token_ids.len(),
            supervised: sample.supervised(),
            // Turns -0 into 0, as adding the zeros of other ranks does.
            nll: nll + 0.0,
            correct,
            origin: sample.origin.clone(),
        }
    }
}
