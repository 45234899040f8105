//! What must not change the result: how a batch is split, padded or ordered, and how much is held at a time.

mod likelihood;
mod recompute;
mod rewriting;
mod split;
