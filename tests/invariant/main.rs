//! Invariants: results must not depend on how a batch is split, padded or ordered, on how much is in memory at a time,
//! or on when the device is read. Also properties that hold for any foreign bytes.

mod fuzzed;
mod in_flight;
mod likelihood;
mod models;
mod products;
mod ranks;
mod reads;
mod recompute;
mod rewriting;
mod rounding;
mod scores;
mod softcap;
mod split;
