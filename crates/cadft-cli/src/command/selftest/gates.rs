//! The token gate of every objective in f64, on the host.

use cadft_core::{AnyObjective, Cadft, Gate, KlSft, PriorSupport};

/// A target, and what a gate may look at.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) log_prob: f64,
    pub(super) target: usize,
    /// Of all tokens in its place.
    pub(super) probabilities: &'a [f64],
    /// Those under the reference model.
    pub(super) before: &'a [f64],
    /// The median score of the batch.
    pub(super) median: f64,
    /// The least excess loss that is among the largest of the batch.
    pub(super) least_excess: f32,
}

impl Token<'_> {
    /// `log q − log p`.
    pub(super) fn excess(&self) -> f64 {
        self.before[self.target].ln() - self.log_prob
    }
}

/// The gate of a target.
pub(super) fn gate(objective: &AnyObjective, token: &Token<'_>) -> f64 {
    let Token {
        log_prob,
        probabilities,
        median,
        ..
    } = *token;
    let p = log_prob.exp();
    match objective {
        AnyObjective::Nll(_) | AnyObjective::IwSft(_) => 1.0,
        AnyObjective::Dft(_) | AnyObjective::Asft(_) => p,
        AnyObjective::Cadft(Cadft { gate: under, .. }) | AnyObjective::KlSft(KlSft { gate: under, .. }) => {
            gate(&alone(under), token)
        }
        AnyObjective::Power(power) => (power.alpha * log_prob).exp(),
        AnyObjective::Eaft(eaft) => {
            let mut likeliest = likeliest(probabilities, 20);
            let sum: f64 = likeliest.iter().sum();
            likeliest.iter_mut().for_each(|p| *p /= sum);
            (entropy(&likeliest) / 20_f64.ln()).powf(eaft.alpha)
        }
        AnyObjective::Idft(idft) => {
            let phi = log_prob + entropy(probabilities);
            (log_prob * (-phi / idft.beta).exp().clamp(0.1, 2.0)).exp()
        }
        AnyObjective::Deft(_) => {
            let alpha: f64 = probabilities.iter().map(|p| p * p).sum();
            alpha / (alpha + 1e-6) * (alpha * log_prob).exp()
        }
        AnyObjective::InfoSft(info) => {
            let logit = |p: f64| (p / (1.0 - p)).ln();
            p * (logit(info.threshold) - logit(p)).max(0.0)
        }
        AnyObjective::ChordPhi(_) => p * (1.0 - p),
        AnyObjective::Profit(profit) => f64::from(u8::from(p > profit.threshold)),
        AnyObjective::SedSft(sed) => {
            let mass: f64 = likeliest(probabilities, usize::from(sed.k)).iter().sum();
            let has_room = f64::from(u8::from(mass < sed.threshold));
            1.0 - 2.0 * sed.lambda * has_room * p * (p - 0.5)
        }
        AnyObjective::Talr(talr) => (log_prob / talr.temperature.unwrap_or(median))
            .exp()
            .max(talr.floor),
        AnyObjective::Prift(prift) => {
            let q = token.before[token.target];
            match prift.support {
                PriorSupport::Prob => q,
                PriorSupport::Mass => {
                    let mass: f64 = token.before.iter().filter(|&&other| other <= q).sum();
                    f64::from(u8::from(mass >= prift.threshold))
                }
            }
        }
        AnyObjective::Psft(psft) => {
            let ratio = (-token.excess()).exp();
            if ratio <= 1.0 + psft.clip { ratio } else { 0.0 }
        }
        AnyObjective::Rho(rho) => {
            f64::from(u8::from(token.excess() >= f64::from(token.least_excess))) / rho.top
        }
    }
}

/// The objective that has only this gate.
fn alone(gate: &Gate) -> AnyObjective {
    match gate.clone() {
        Gate::Dft(gate) => AnyObjective::Dft(gate),
        Gate::Nll(gate) => AnyObjective::Nll(gate),
        Gate::Power(gate) => AnyObjective::Power(gate),
        Gate::Eaft(gate) => AnyObjective::Eaft(gate),
        Gate::Idft(gate) => AnyObjective::Idft(gate),
        Gate::Deft(gate) => AnyObjective::Deft(gate),
        Gate::InfoSft(gate) => AnyObjective::InfoSft(gate),
        Gate::ChordPhi(gate) => AnyObjective::ChordPhi(gate),
        Gate::Profit(gate) => AnyObjective::Profit(gate),
        Gate::SedSft(gate) => AnyObjective::SedSft(gate),
        Gate::Talr(gate) => AnyObjective::Talr(gate),
        Gate::Prift(gate) => AnyObjective::Prift(gate),
        Gate::Psft(gate) => AnyObjective::Psft(gate),
        Gate::Rho(gate) => AnyObjective::Rho(gate),
    }
}

fn entropy(probabilities: &[f64]) -> f64 {
    probabilities.iter().map(|p| -p * p.ln()).sum()
}

/// The `k` largest probabilities.
fn likeliest(probabilities: &[f64], k: usize) -> Vec<f64> {
    let mut sorted = probabilities.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted.truncate(k);
    sorted
}
