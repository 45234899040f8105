//! Delayed, low-frequency, compatibility-guided rewriting as a state machine (arXiv 2606.11206).
//!
//! ```text
//! t < T_warm                   weights only
//! t ≥ T_warm and t mod K = 0   for the most persistently incompatible samples, each with probability ρ:
//!                              y_i ← ŷ_i ~ Nucleus(π_θ(·|x_i); p, temperature)                       (CADFT-5)
//! ```
//!
//! | part | what it decides |
//! |---|---|
//! | [`MovingAverage`], [`Tracker`] | how persistently incompatible each sample is |
//! | [`RoundSchedule`] | after which steps a round takes place |
//! | [`Selection`] | which samples a round looks at |
//! | [`chance`], [`round_seed`] | which of them are drawn, and with which random numbers they are rewritten |
//! | [`Acceptance`] | whether a candidate takes the place of what it was made for |
//!
//! Nothing here generates, reads or writes: the same inputs give the same decisions, whatever ran before.

mod accept;
mod moving_average;
mod schedule;
mod select;
mod tracker;

pub use accept::{Acceptance, Candidate, Rejection};
pub use moving_average::MovingAverage;
pub use schedule::RoundSchedule;
pub use select::{Selection, chance, round_seed};
pub use tracker::Tracker;
