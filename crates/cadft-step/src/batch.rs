//! Global batches: which samples belong to which step, and their micro-batches on the device.

use crate::ranks::{Ranks, ZeroStage};
use burn::tensor::{Device, Int, Tensor, TensorData};
use cadft_batch::{
    Batch, BatchOptions, Bucketing, Example, Order, Packing as RowPacking, epoch_order, micro_batch_shapes,
};
use cadft_core::GlobalCounts;
use cadft_model::{CausalLm, Packing};

/// How a global batch is cut into micro-batches. This changes memory and speed, not the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroBatching {
    /// Rows in one forward pass; padding-free, the mean number of samples.
    pub micro: usize,
    /// Most tokens in one forward pass, padding included, instead of `micro`. A longer sample gets a pass of its own.
    pub max_tokens: Option<usize>,
    /// Which rows go together. Padding-free, tokens decide.
    pub bucketing: Bucketing,
    /// How samples are laid out. Rows that samples share are as long as the longest sample of the global batch.
    pub packing: RowPacking,
}

impl Default for MicroBatching {
    /// Four samples, without padding.
    fn default() -> Self {
        Self {
            micro: 4,
            max_tokens: None,
            bucketing: Bucketing::ByLength,
            packing: RowPacking::PaddingFree,
        }
    }
}

impl MicroBatching {
    /// `micro` samples, without padding.
    #[must_use]
    pub fn rows(micro: usize) -> Self {
        Self {
            micro,
            ..Self::default()
        }
    }

    /// The options for a global batch whose longest sample has `longest` tokens.
    fn options(&self, longest: usize) -> BatchOptions {
        BatchOptions {
            micro: self.micro,
            max_tokens: self.max_tokens,
            bucketing: self.bucketing,
            packing: self.packing,
            row_tokens: longest,
        }
    }
}

/// One micro-batch on the device.
#[derive(Clone, Debug)]
pub struct MicroBatch {
    /// `[rows, seq]`, padded on the right.
    pub token_ids: Tensor<2, Int>,
    /// The samples in each row, if rows hold several.
    pub packing: Option<Packing>,
    /// `[tokens]`: for each target, the index of the position that predicts it, in the flattened `[rows · seq]`.
    pub positions: Tensor<1, Int>,
    /// `[tokens]`: the targets.
    pub targets: Tensor<1, Int>,
    /// `[tokens]`: for each target, the index of its sample in this micro-batch.
    pub sample_of: Vec<usize>,
    /// `[samples]`: for each sample of this micro-batch, its index in the global batch.
    pub samples: Vec<usize>,
    /// The shard of this micro-batch, counted from the first shard of this rank.
    pub shard: usize,
    /// The number of this micro-batch within its shard.
    pub round: usize,
    /// The number of this micro-batch among those of all shards.
    pub number: usize,
    /// `[tokens]`, f32, off the autodiff graph: what a frozen model says of each target, if the batch was given it.
    pub reference: Option<Tensor<1>>,
}

impl MicroBatch {
    fn new(batch: &Batch, device: &Device) -> Self {
        let ids = |ids: Vec<i64>, shape: &[usize]| TensorData::new(ids, shape.to_vec());
        let tokens = batch.targets.len();
        let token_ids = batch.token_ids.iter().map(|&id| i64::from(id)).collect();
        let positions = batch
            .targets
            .iter()
            .map(|target| target.position as i64)
            .collect();
        let targets = batch
            .targets
            .iter()
            .map(|target| i64::from(target.token_id))
            .collect();
        Self {
            token_ids: Tensor::from_data(ids(token_ids, &[batch.rows, batch.seq]), device),
            packing: batch.is_packed().then(|| Packing {
                lengths: batch.segments.clone(),
            }),
            positions: Tensor::from_data(ids(positions, &[tokens]), device),
            targets: Tensor::from_data(ids(targets, &[tokens]), device),
            sample_of: batch.targets.iter().map(|target| target.sample).collect(),
            samples: batch.indices.clone(),
            shard: 0,
            round: 0,
            number: 0,
            reference: None,
        }
    }

    /// The same tensors on the device without autodiff.
    #[must_use]
    pub fn inner(self) -> Self {
        let off = |ids: Tensor<1, Int>| {
            if ids.device().is_autodiff() {
                ids.inner()
            } else {
                ids
            }
        };
        let token_ids = if self.token_ids.device().is_autodiff() {
            self.token_ids.inner()
        } else {
            self.token_ids
        };
        Self {
            token_ids,
            positions: off(self.positions),
            targets: off(self.targets),
            ..self
        }
    }
}

/// An upper bound on the forward passes of one micro-batch, each of which draws other masks.
const PASSES: u64 = 16;

/// The samples of one optimizer step, and how they are distributed.
#[derive(Clone, Debug)]
pub struct GlobalBatch {
    /// The micro-batches of this rank, in the order of computation.
    pub micro: Vec<MicroBatch>,
    /// `[samples]`: number of supervised tokens of each sample.
    pub supervised: Vec<usize>,
    /// `[samples]`: the `weight` of each sample's row.
    pub data_weights: Vec<f64>,
    /// `[samples]`: the id of each sample.
    pub ids: Vec<String>,
    /// Number of tokens of all samples, without padding.
    pub tokens: usize,
    /// How the samples are distributed among ranks.
    pub shares: Shares,
    /// For each sample what a frozen model says of its supervised tokens ([`GlobalBatch::with_reference`]).
    pub reference: Option<Vec<Vec<f32>>>,
}

/// How the samples of a global batch are distributed. The same on every rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Number of shards.
    pub shards: usize,
    /// Number of micro-batches of each shard.
    pub micro: Vec<usize>,
    /// Number of tokens of each shard.
    pub tokens: Vec<usize>,
    /// Number of shards of each rank; rank `r` has the shards from `r · per_rank` on.
    pub per_rank: usize,
}

impl Shares {
    /// Number of micro-batches of all ranks together.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.micro.iter().sum()
    }

    /// Number of micro-batches of each rank.
    fn of_ranks(&self) -> impl Iterator<Item = usize> {
        self.micro.chunks(self.per_rank).map(|own| own.iter().sum())
    }

    /// The largest number of micro-batches of any rank.
    #[must_use]
    pub fn most_micro(&self) -> usize {
        self.of_ranks().max().unwrap_or(0)
    }

    /// Tokens of the rank that has the most, divided by the mean over ranks; 1 if there are no tokens.
    #[must_use]
    pub fn imbalance(&self) -> f64 {
        let of_ranks = self
            .tokens
            .chunks(self.per_rank)
            .map(|own| own.iter().sum::<usize>());
        let (count, total) = (of_ranks.len(), self.tokens.iter().sum::<usize>());
        let most = of_ranks.max().unwrap_or(0);
        if total == 0 {
            1.0
        } else {
            (most * count) as f64 / total as f64
        }
    }

    /// For each rank, whether any of its shards has more than `round` micro-batches. For round 0: whether it has
    /// samples.
    pub(crate) fn present_in(&self, round: usize) -> Vec<bool> {
        let has = |own: &[usize]| own.iter().any(|&micro| micro > round);
        self.micro.chunks(self.per_rank).map(has).collect()
    }

    /// The largest number of micro-batches of any shard.
    pub(crate) fn rounds(&self) -> usize {
        self.micro.iter().copied().max().unwrap_or(0)
    }
}

impl GlobalBatch {
    /// Cuts `examples` into micro-batches on `device`: one shard on one rank.
    #[must_use]
    pub fn new(examples: &[&Example], cut: &MicroBatching, device: &Device) -> Self {
        Self::dealt(examples, &Ranks::solo(), cut, device)
    }

    /// Deals `examples` into shards of about equally many tokens, and cuts the shards of this rank into micro-batches
    /// on `device`.
    #[must_use]
    pub fn dealt(examples: &[&Example], ranks: &Ranks, cut: &MicroBatching, device: &Device) -> Self {
        let (shards, own_shards) = (ranks.shards(), ranks.own_shards());
        let lengths: Vec<usize> = examples.iter().map(|example| example.token_ids.len()).collect();
        let options = cut.options(lengths.iter().copied().max().unwrap_or(0));
        let dealt = cadft_batch::deal(&lengths, shards);
        let of_shard = |places: &Vec<usize>| {
            let lengths: Vec<usize> = places.iter().map(|&place| lengths[place]).collect();
            micro_batch_shapes(&lengths, &options).len()
        };
        let shares = Shares {
            shards,
            micro: dealt.iter().map(of_shard).collect(),
            tokens: (dealt.iter())
                .map(|places| places.iter().map(|&place| lengths[place]).sum())
                .collect(),
            per_rank: own_shards.len(),
        };
        let mut number = shares.micro[..own_shards.start].iter().sum();
        let mut micro = vec![];
        for (shard, places) in dealt[own_shards].iter().enumerate() {
            let own: Vec<&Example> = places.iter().map(|&place| examples[place]).collect();
            for (round, batch) in cadft_batch::micro_batches(&own, &options).enumerate() {
                let mut batch = MicroBatch::new(&batch, device);
                batch
                    .samples
                    .iter_mut()
                    .for_each(|sample| *sample = places[*sample]);
                (batch.shard, batch.round, batch.number) = (shard, round, number);
                micro.push(batch);
                number += 1;
            }
        }
        if ranks.stage() == ZeroStage::Two {
            micro.sort_by_key(|batch| (batch.round, batch.shard));
        }
        Self {
            micro,
            supervised: examples.iter().map(|example| example.supervised()).collect(),
            data_weights: examples.iter().map(|example| example.weight).collect(),
            ids: examples.iter().map(|example| example.id.clone()).collect(),
            tokens: lengths.iter().sum(),
            shares,
            reference: None,
        }
    }

    /// Seeds adapter dropout for a micro-batch, so that its masks do not depend on the rank that computes it. `seed` is
    /// the seed of the step. With a single shard, the generator continues from pass to pass instead.
    pub(crate) fn seed_dropout(&self, model: &CausalLm, micro: &MicroBatch, seed: u64) {
        if self.shares.shards > 1 {
            model.seed_dropout(seed.wrapping_add(micro.number as u64 * PASSES));
        }
    }

    /// Numbers of samples and supervised tokens: the denominators of the loss.
    #[must_use]
    pub fn counts(&self) -> GlobalCounts {
        GlobalCounts::of(self.supervised.iter().copied())
    }
}

/// Cuts samples into micro-batches. Each is made, and put on the device, when the iterator reaches it.
pub fn micro_batches<'a>(
    examples: &'a [&'a Example],
    cut: &MicroBatching,
    device: &'a Device,
) -> impl Iterator<Item = MicroBatch> + use<'a> {
    let lengths = examples.iter().map(|example| example.token_ids.len());
    let options = cut.options(lengths.max().unwrap_or(0));
    cadft_batch::micro_batches(examples, &options).map(|batch| MicroBatch::new(&batch, device))
}

/// `[rows, seq]` of every micro-batch of a global batch whose samples have these lengths.
#[must_use]
pub fn shapes(lengths: &[usize], cut: &MicroBatching) -> Vec<[usize; 2]> {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    micro_batch_shapes(lengths, &cut.options(longest))
}

/// Chooses the samples of each step. The last window of an epoch may be smaller; it is a global batch like the others.
#[derive(Clone, Debug)]
pub struct Sampler {
    samples: usize,
    global: usize,
    order: Order,
    seed: u64,
    /// The epoch whose order is cached, and the order.
    current: Option<(usize, Vec<usize>)>,
}

impl Sampler {
    /// Chooses global batches of `global` samples among `samples` samples.
    ///
    /// # Panics
    /// If there are no samples or `global` is 0.
    #[must_use]
    pub fn new(samples: usize, global: usize, order: Order, seed: u64) -> Self {
        assert!(samples > 0 && global > 0, "a sampler needs samples");
        Self {
            samples,
            global,
            order,
            seed,
            current: None,
        }
    }

    /// Number of steps in one epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.samples.div_ceil(self.global)
    }

    /// The samples of step `step`, counted from 1.
    #[must_use]
    pub fn samples_of(&mut self, step: usize) -> Vec<usize> {
        let (epoch, window) = (
            (step - 1) / self.steps_per_epoch(),
            (step - 1) % self.steps_per_epoch(),
        );
        let (samples, seed) = (self.samples, self.seed);
        let current = self.current.take().filter(|(known, _)| *known == epoch);
        let (_, order) = (self.current)
            .insert(current.unwrap_or_else(|| (epoch, epoch_order(samples, self.order, seed, epoch as u64))));
        let start = window * self.global;
        order[start..(start + self.global).min(samples)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_sample_once_and_ends_on_its_remainder() {
        let mut sampler = Sampler::new(10, 4, Order::Shuffled, 7);
        for epoch in 0..3 {
            let steps: Vec<_> = (1..=3).map(|step| sampler.samples_of(epoch * 3 + step)).collect();
            assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
            let mut all = steps.concat();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(sampler.samples_of(1), sampler.samples_of(4));
    }

    #[test]
    fn sequential_order_is_the_files_order() {
        let mut sampler = Sampler::new(5, 3, Order::Sequential, 7);
        assert_eq!(sampler.samples_of(2), [3, 4]);
        assert_eq!(sampler.samples_of(3), [0, 1, 2]);
    }
}
