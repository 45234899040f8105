//! What must not change the result: how a batch is split, padded or ordered, how much is held at a time, and when
//! the device is read. And what must hold of any bytes that come from somebody else.

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
