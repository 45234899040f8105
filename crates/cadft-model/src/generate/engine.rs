//! The generation loop: prompts enter free slots, every sequence of the batch gets a token, finished sequences leave.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::awake::Awake;
use super::room::first_positions;
use super::sampler::Sampler;
use super::{Finish, GenerateOptions, Generated, OnToken, Request};
use crate::cache::KvCache;
use crate::decoder::CausalLm;
use crate::error::ModelError;

/// Number of tokens in a forward pass. On Flex, products of up to this many rows are computed row by row, so that
/// sequences do not affect each other.
const ROWS: usize = crate::fused::FEW_ROWS;
/// A prompt waits for another one with which it shares at least this many tokens more than with any slot.
const WORTH_WAITING: usize = 16;

/// The state of one call of [`super::generate`].
pub(super) struct Engine<'a> {
    model: &'a CausalLm,
    device: Device,
    requests: &'a [Request],
    options: &'a GenerateOptions,
    cache: KvCache,
    slots: Vec<Slot>,
    /// The index of the next request in the queue.
    next: usize,
    finished: Vec<Option<Generated>>,
}

/// A slot of the cache.
#[derive(Default)]
struct Slot {
    /// The tokens whose keys and values the slot holds; they stay after the sequence has ended.
    tokens: Vec<u32>,
    /// The sequence in the slot, if any.
    sequence: Option<Sequence>,
}

/// A sequence that is being generated.
struct Sequence {
    request: usize,
    sampler: Sampler,
    generated: Generated,
}

/// A row of a forward pass: a slot and its new tokens.
struct Row<'a> {
    slot: usize,
    tokens: &'a [u32],
}

/// The source of the beginning of a prompt.
struct Entry {
    slot: usize,
    source: usize,
    shared: usize,
}

impl<'a> Engine<'a> {
    pub(super) fn new(model: &'a CausalLm, requests: &'a [Request], options: &'a GenerateOptions) -> Self {
        let slots = options.batch.min(requests.len());
        let (layers, capacity) = (&model.model.layers, first_positions(requests, options));
        let is_recurrent = layers.iter().any(|layer| layer.linear_attn.is_some());
        Self {
            model,
            device: model.device(),
            requests,
            options,
            cache: KvCache::with_layers(layers.len(), is_recurrent, slots, capacity),
            slots: (0..slots).map(|_| Slot::default()).collect(),
            next: 0,
            finished: vec![None; requests.len()],
        }
    }

    /// Generates a sequence for every request.
    pub(super) fn run(mut self, on_token: &mut OnToken<'_>) -> Result<Vec<Generated>, ModelError> {
        loop {
            let entered = self.admit();
            self.prefill(entered, on_token)?;
            self.decode(on_token)?;
            let is_idle = self.slots.iter().all(|slot| slot.sequence.is_none());
            if is_idle && self.next == self.requests.len() {
                return Ok(self.finished.into_iter().flatten().collect());
            }
        }
    }

    /// Puts the next requests into the free slots, and returns these slots.
    fn admit(&mut self) -> Vec<usize> {
        let mut entered = vec![];
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.sequence.is_some() || self.next == self.requests.len() {
                continue;
            }
            let Request { prompt, stream } = &self.requests[self.next];
            slot.sequence = Some(Sequence {
                request: self.next,
                sampler: Sampler::new(&self.options.sampling, *stream, prompt),
                generated: Generated {
                    token_ids: vec![],
                    finish: Finish::Length,
                    log_probs: vec![],
                    prefilled: 0,
                },
            });
            self.next += 1;
            entered.push(index);
        }
        entered
    }

    /// The prompt of the sequence in a slot.
    fn prompt(&self, slot: usize) -> &'a [u32] {
        let requests = self.requests;
        let sequence = self.slots[slot].sequence.as_ref();
        sequence.map_or(&[], |sequence| &requests[sequence.request].prompt)
    }

    /// Computes the prompts of these slots and chooses their first tokens.
    fn prefill(&mut self, mut waiting: Vec<usize>, on_token: &mut OnToken<'_>) -> Result<(), ModelError> {
        while !waiting.is_empty() {
            let mut entries: Vec<Entry> = vec![];
            let (mut twins, mut later) = (vec![], vec![]);
            for &slot in &waiting {
                let is_full = entries.len() + twins.len() == ROWS;
                if let Some(of) = self.twin(slot, &entries).filter(|_| !is_full) {
                    twins.push((slot, of));
                    continue;
                }
                let entry = self.entry(slot, &waiting);
                let companion = entries
                    .iter()
                    .map(|other| common(self.prompt(slot), self.prompt(other.slot)))
                    .max();
                let is_worth_waiting =
                    !self.cache.is_recurrent() && companion >= Some(entry.shared + WORTH_WAITING);
                if is_full || is_worth_waiting {
                    later.push(slot);
                } else {
                    entries.push(entry);
                }
            }
            for Entry { slot, source, shared } in &entries {
                self.cache.copy_prefix(*source, *slot, *shared);
                let prompt = self.prompt(*slot);
                let held = &mut self.slots[*slot];
                held.tokens = prompt[..*shared].to_vec();
                if let Some(sequence) = &mut held.sequence {
                    sequence.generated.prefilled = prompt.len() - shared;
                }
            }
            let group = entries.iter().map(|entry| entry.slot).collect();
            let (mut slots, mut hidden) = self.prefill_group(group);
            if !twins.is_empty() {
                let row = |(_, of): &(usize, usize)| Some(slots.iter().position(|slot| slot == of)? as i64);
                let rows: Vec<i64> = twins.iter().filter_map(row).collect();
                let same = hidden.clone().select(0, self.indices(&rows));
                hidden = Tensor::cat(vec![hidden, same], 0);
                for (slot, of) in twins {
                    let tokens = self.slots[of].tokens.clone();
                    self.cache.copy_prefix(of, slot, tokens.len());
                    self.slots[slot].tokens = tokens;
                    slots.push(slot);
                }
            }
            self.choose(&slots, hidden, on_token)?;
            waiting = later;
        }
        Ok(())
    }

    /// The slot among `entries` with the same prompt, if the state after a prompt can only be copied whole.
    fn twin(&self, slot: usize, entries: &[Entry]) -> Option<usize> {
        let mut slots = entries.iter().map(|entry| entry.slot);
        let of = slots.find(|&other| self.prompt(other) == self.prompt(slot));
        of.filter(|_| self.cache.is_recurrent())
    }

    /// The slot with the longest prefix of the prompt of `slot`. The last token of a prompt is always computed, because
    /// the first new token depends on it.
    fn entry(&self, slot: usize, waiting: &[usize]) -> Entry {
        let prompt = self.prompt(slot);
        let own = Entry {
            slot,
            source: slot,
            shared: 0,
        };
        (0..self.slots.len())
            // A waiting slot is about to be overwritten.
            .filter(|other| *other == slot || !waiting.contains(other))
            .map(|source| Entry {
                slot,
                source,
                shared: common(&prompt[..prompt.len() - 1], &self.slots[source].tokens),
            })
            // The state of linear attention is copied whole or not at all.
            .filter(|found| !self.cache.is_recurrent() || found.shared == self.slots[found.source].tokens.len())
            .fold(own, |best, found| if found.shared > best.shared { found } else { best })
    }

    /// Computes the rest of the prompts of a group. Returns its slots, and the hidden states of the last tokens,
    /// `[slots, hidden]`.
    fn prefill_group(&mut self, group: Vec<usize>) -> (Vec<usize>, Tensor<2>) {
        let (mut slots, mut hidden) = (vec![], vec![]);
        let mut going = group;
        while !going.is_empty() {
            let rows = self.next_of_prompts(&going);
            let last = self.forward(&rows); // [rows, hidden]
            let mut done = vec![];
            for (row, &Row { slot, .. }) in rows.iter().enumerate() {
                if self.slots[slot].tokens.len() == self.prompt(slot).len() {
                    done.push(row as i64);
                    slots.push(slot);
                }
            }
            if !done.is_empty() {
                hidden.push(last.select(0, self.indices(&done)));
            }
            going.retain(|slot| !slots.contains(slot));
        }
        (slots, Tensor::cat(hidden, 0))
    }

    /// The prompt tokens for the next pass. With padding, it takes the same number of positions of each prompt. Without
    /// padding, the tokens of all prompts are spread evenly over the fewest passes, one prompt after the other.
    fn next_of_prompts(&self, group: &[usize]) -> Vec<Row<'a>> {
        let left = |slot: usize| &self.prompt(slot)[self.slots[slot].tokens.len()..];
        let total: usize = group.iter().map(|&slot| left(slot).len()).sum();
        let (mut room, most) = if self.is_ragged() {
            (total.div_ceil(total.div_ceil(ROWS)), ROWS)
        } else {
            // Padding must not reach the state of linear attention.
            let least = group.iter().map(|&slot| left(slot).len()).min().unwrap_or(0);
            let most = ROWS / group.len();
            let most = if self.cache.is_recurrent() {
                most.min(least)
            } else {
                most
            };
            (ROWS, most)
        };
        let mut rows = vec![];
        for &slot in group {
            let tokens = left(slot);
            let tokens = &tokens[..tokens.len().min(most).min(room)];
            room -= tokens.len();
            if !tokens.is_empty() {
                rows.push(Row { slot, tokens });
            }
        }
        rows
    }

    /// Whether every token of a pass is a separate row. On Flex, whose attention copies no keys, this avoids padding.
    fn is_ragged(&self) -> bool {
        crate::fused::runs_on_cpu(&self.device)
    }

    /// Generates one token for every sequence of the batch.
    fn decode(&mut self, on_token: &mut OnToken<'_>) -> Result<(), ModelError> {
        let active: Vec<(usize, [u32; 1])> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, held)| Some((slot, held.sequence.as_ref()?.generated.token_ids.last()?)))
            .map(|(slot, &token)| (slot, [token]))
            .collect();
        for part in active.chunks(ROWS) {
            let rows: Vec<Row<'_>> = part
                .iter()
                .map(|(slot, tokens)| Row { slot: *slot, tokens })
                .collect();
            let hidden = self.forward(&rows);
            let slots: Vec<usize> = part.iter().map(|(slot, _)| *slot).collect();
            self.choose(&slots, hidden, on_token)?;
        }
        Ok(())
    }

    /// Computes a forward pass; returns the hidden state of each row's last token, `[rows, hidden]`.
    fn forward(&mut self, rows: &[Row<'_>]) -> Tensor<2> {
        let longest = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        let seq = if self.is_ragged() { 1 } else { longest };
        // Shorter rows are padded on the right. Causal attention hides the padding from earlier tokens, and the cache
        // is truncated afterwards.
        let parts = rows
            .iter()
            .flat_map(|row| row.tokens.chunks(seq).map(move |part| (row.slot, part)));
        let (slots, tokens): (Vec<_>, Vec<_>) = parts.unzip();
        let tokens: Vec<i64> = tokens
            .iter()
            .flat_map(|part| {
                let tokens = part.iter().map(|&token| i64::from(token));
                tokens.chain(std::iter::repeat_n(0, seq - part.len()))
            })
            .collect();
        let tokens = Tensor::from_data(TensorData::new(tokens, [slots.len(), seq]), &self.device);
        self.cache.set_rows(&slots);
        let (model, cache) = (self.model, &mut self.cache);
        let hidden = compute(&self.device, || model.hidden_states_with_cache(tokens, cache)); // [parts, seq, hidden]
        for row in rows {
            let held = &mut self.slots[row.slot].tokens;
            held.extend(row.tokens);
            self.cache.truncate(row.slot, held.len());
        }
        let [parts, seq, width] = hidden.dims();
        let hidden = hidden.reshape([parts * seq, width]);
        if longest == 1 {
            return hidden;
        }
        let mut end = 0;
        let last = rows.iter().map(|Row { tokens, .. }| {
            let start = end;
            end += tokens.len().next_multiple_of(seq);
            (start + tokens.len() - 1) as i64
        });
        hidden.select(0, self.indices(&last.collect::<Vec<_>>()))
    }

    fn indices(&self, indices: &[i64]) -> Tensor<1, Int> {
        Tensor::from_data(indices, &self.device)
    }

    /// Chooses the next token of the sequences in `slots`, from the hidden state of each one's last token. Sequences
    /// that end leave their slots.
    fn choose(
        &mut self,
        slots: &[usize],
        hidden: Tensor<2>,
        on_token: &mut OnToken<'_>,
    ) -> Result<(), ModelError> {
        let model = self.model;
        let logits = compute(&self.device, || model.logits(hidden.unsqueeze_dim(1))); // [rows, 1, vocab]
        let [_, _, vocab] = logits.dims();
        let logits = logits.into_data().convert::<f32>();
        let logits = logits.as_slice::<f32>().expect("the data was converted to f32");
        let mut sequences: Vec<_> = slots
            .iter()
            .filter_map(|&slot| Some((slot, self.slots[slot].sequence.take()?)))
            .collect();
        let options = self.options;
        let choices: Vec<_> = sequences
            .par_iter_mut()
            .zip(logits.par_chunks(vocab))
            .map(|((_, sequence), logits)| sequence.sampler.choose(&options.sampling, logits))
            .collect();
        for ((slot, mut sequence), choice) in sequences.into_iter().zip(choices) {
            let Sequence {
                request, generated, ..
            } = &mut sequence;
            let request = *request;
            let Some(choice) = choice else {
                let done = generated.token_ids.len();
                return Err(ModelError::Generate {
                    message: format!(
                        "prompt `{request}`: the logits after `{done}` new tokens are not finite"
                    ),
                    hints: vec!["the weights may be damaged, or training may have diverged"],
                });
            };
            generated.token_ids.push(choice.token);
            generated.log_probs.push(choice.log_prob);
            let is_broken = on_token(request, choice.token).is_break();
            let new = generated.token_ids.len();
            let positions = self.requests[request].prompt.len() + new;
            if is_broken || options.stop_token_ids.contains(&choice.token) {
                generated.finish = Finish::Stop;
                self.finished[request] = Some(sequence.generated);
            } else if new == options.max_new_tokens || positions == options.max_positions {
                self.finished[request] = Some(sequence.generated);
            } else {
                self.slots[slot].sequence = Some(sequence);
            }
        }
        Ok(())
    }
}

/// Runs `work`. On the CPU it runs as a whole on a worker thread, so that no thread has to be woken for its small
/// parts.
fn compute<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    if crate::fused::runs_on_cpu(device) {
        rayon::scope(|_| {
            let _awake = Awake::new();
            work()
        })
    } else {
        work()
    }
}

/// Length of the common prefix of two sequences.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
