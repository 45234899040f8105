//! Loss mathematics of Compatibility-Aware Dynamic Fine-Tuning (CADFT, arXiv 2606.11206), on Burn.
//!
//! All public items are for users and follow semantic versioning. The extension of Burn's backends is private.
//!
//! The crate does no input or output, and has no clock and no global random state. It does not depend on models: a loss
//! takes hidden states, the output weight and targets.
//!
//! | module | what it holds |
//! |---|---|
//! | [`objective`] | the family `Σ_i w_i Σ_t −sg[g_{i,t}]·log p_{i,t}` and its members |
//! | [`compatibility`] | scores, their global statistics, z-scores and sample weights |
//! | [`linear_likelihood`] | fused output projection and log-likelihood, a Burn backend extension |
//! | [`rewrite`] | which samples are rewritten, when, and what may replace them |
//! | [`reduction`] | counts and normalisation: the only place that divides by a count |
//!
//! Notation: `i` a sample, `t` a supervised position, `p = π_θ(y_t | x, y_<t)`, `B` the global batch (every sample of
//! one optimizer update), `sg[·]` stop-gradient. Equation ids (`OBJ-1`, `CADFT-2`, …) are those of the book's page
//! on the method.

pub mod compatibility;
pub mod linear_likelihood;
pub mod objective;
pub mod reduction;
pub mod rewrite;

/// The version of Burn that these crates are built on. Import Burn from here, and the versions cannot differ.
pub use burn;
pub use cadft_kernels::{LogitOptions, Precision};
pub use compatibility::{Compatibility, Moments, RunningMoments, Standardiser, Statistics};
pub use linear_likelihood::{
    ChunkSize, Statistic, linear_argmax, linear_divergence, linear_log_probs, linear_log_probs_chunked,
    linear_mass_below, linear_statistic, naive_log_probs,
};
pub use objective::{
    AnyObjective, Asft, Cadft, ChordPhi, Deft, Dft, Eaft, Gate, Idft, InfoSft, IwSft, KlSft, Nll, Objective,
    Power, Prift, PriorSupport, Profit, Psft, Reference, Rho, SampleStats, SedSft, Talr, TokenReference,
    TokenStats, anchor_loss, family_loss,
};
pub use reduction::{GlobalCounts, Normalisation};
