//! Accumulates the gradient of a global batch while its micro-batches are computed: a sum over shards, then over ranks.
//!
//! ```text
//! stage 1:  G = tree over shards v of (Σ over micro-batches m of g_{v,m})     ranks add once a step
//! stage 2:  G = Σ over m of (tree over shards v of g_{v,m})                   ranks add once for each m
//! ```
//!
//! In stage 2, a rank that has one shard and recomputes activations block by block sends the gradients of a block to
//! their owners as soon as they are computed. It keeps only the gradients that it owns, and those of one block.

use crate::accumulator::Accumulator;
use crate::batch::{MicroBatch, Shares};
use crate::ranks::{Flat, Owners, Ranks, ZeroStage, flat_gradients, gradients_of};
use crate::recompute::{Graph, Part};
use crate::sum::ShardSum;
use burn::module::ParamId;
use burn::tensor::Tensor;
use cadft_model::CausalLm;
use cadft_model::ParamGradients;
use cadft_model::decoder::Recompute;
use std::collections::HashSet;

/// The gradient of a global batch.
pub(crate) struct GradientSum<'a> {
    model: &'a CausalLm,
    shares: &'a Shares,
    ranks: Ranks,
    owners: Owners,
    /// The sum over this rank's shards: of the whole step or, in stage 2, of the current round.
    shards: ShardSum<'a, CausalLm>,
    /// In stage 2: the sum of earlier rounds, for the parameters that this rank owns.
    own: Accumulator,
    /// The current round.
    round: usize,
}

impl<'a> GradientSum<'a> {
    pub(crate) fn new(model: &'a CausalLm, shares: &'a Shares, ranks: &Ranks) -> Self {
        Self {
            model,
            shares,
            ranks: ranks.clone(),
            owners: ranks.owners(model),
            shards: ShardSum::new(model),
            own: Accumulator::new(),
            round: 0,
        }
    }

    /// Adds the gradients of a micro-batch. Calls must follow the order of the global batch.
    pub(crate) fn add(&mut self, graph: Graph, loss: &Tensor<1>, micro: &MicroBatch) {
        if self.ranks.stage() == ZeroStage::Two {
            self.close(micro.round);
            if self.by_block() {
                let parts = graph.parts(loss, self.model);
                parts.each(&mut |part, found| self.give(part, found));
                self.round += 1;
                return;
            }
        }
        let (model, sum) = (self.model, self.shards.of(micro.shard));
        graph
            .parts(loss, model)
            .each(&mut |_, found| sum.add(model, found));
    }

    /// The sum over all shards, for the parameters that this rank owns.
    pub(crate) fn total(mut self) -> ParamGradients {
        if self.ranks.stage() == ZeroStage::Two {
            self.close(self.shares.rounds());
            return self.own.take();
        }
        let sum = std::mem::replace(&mut self.shards, ShardSum::new(self.model));
        self.folded(sum.total(self.shares.per_rank), &self.shares.present_in(0))
    }

    /// Whether gradients are sent block by block.
    fn by_block(&self) -> bool {
        self.ranks.count() > 1 && self.shares.per_rank == 1 && self.model.recompute() == Recompute::Blocks
    }

    /// Completes the rounds before `round`, including those in which this rank has no micro-batch.
    fn close(&mut self, round: usize) {
        while self.round < round {
            if self.by_block() {
                let model = self.model;
                for block in model.model.layers.iter().rev() {
                    self.give(Part::Block(block), ParamGradients::new());
                }
                self.give(Part::Rest, ParamGradients::new());
            } else {
                let sum = std::mem::replace(&mut self.shards, ShardSum::new(self.model));
                let total = sum.total(self.shares.per_rank);
                let folded = self.folded(total, &self.shares.present_in(self.round));
                self.own.add(self.model, folded);
            }
            self.round += 1;
        }
    }

    /// Sends the gradients of a part of the model to their owners.
    fn give(&mut self, part: Part<'_>, found: ParamGradients) {
        let flat = match part {
            Part::Block(block) => flat_gradients(block, &found),
            Part::Rest => {
                let blocks = &self.model.model.layers;
                let of_blocks = flat_gradients(blocks, &ParamGradients::new());
                let of_blocks: HashSet<ParamId> = of_blocks.iter().map(|flat| flat.id).collect();
                let mut flat = flat_gradients(self.model, &found);
                flat.retain(|flat| !of_blocks.contains(&flat.id));
                flat
            }
        };
        drop(found);
        let folded = self.sum_of(&flat, &self.shares.present_in(self.round));
        self.own.add(self.model, folded);
    }

    fn folded(&self, gradients: Option<ParamGradients>, present: &[bool]) -> ParamGradients {
        let gradients = gradients.unwrap_or_default();
        if self.ranks.count() == 1 {
            return gradients;
        }
        let flat = flat_gradients(self.model, &gradients);
        drop(gradients);
        self.sum_of(&flat, present)
    }

    fn sum_of(&self, flat: &[Flat], present: &[bool]) -> ParamGradients {
        gradients_of(self.model, self.ranks.fold(&self.owners, flat, present))
    }
}
