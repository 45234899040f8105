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
//! | [`chance`], [`round_seed`] | which of them are drawn, and the random numbers of their rewriting |
//! | [`Acceptance`] | whether a candidate replaces the original answer |
//!
//! This module does not generate, read or write. The same inputs always give the same decisions.

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
