//! The token gate of every objective in f64, on the host.

use cadft_core::{AnyObjective, Cadft, Gate, KlSft};

/// The gate of a target with log-likelihood `log_prob`, given the probabilities of all tokens and the median score of
/// the batch.
pub(super) fn gate(objective: &AnyObjective, log_prob: f64, probabilities: &[f64], median: f64) -> f64 {
    let p = log_prob.exp();
    match objective {
        AnyObjective::Nll(_) | AnyObjective::IwSft(_) => 1.0,
        AnyObjective::Dft(_) | AnyObjective::Asft(_) => p,
        AnyObjective::Cadft(Cadft { gate: under, .. }) | AnyObjective::KlSft(KlSft { gate: under, .. }) => {
            gate(&alone(under), log_prob, probabilities, median)
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
