//! The rotary divisors of Llama 3.1 in a GGUF file, and the scaling rule behind them.
//!
//! ```text
//! 1 / divisor = kept + (1 − kept) / factor        kept = clamp((turns − low) / (high − low), 0, 1)
//! turns = original · f / 2π                       f: the frequency that is divided
//! ```

use std::f64::consts::TAU;

use crate::config::RopeScaling;

/// The divisors of `pairs` frequencies, as a file stores them.
#[expect(clippy::cast_possible_truncation, reason = "GGUF stores them as f32")]
pub(super) fn divisors(scaling: &RopeScaling, theta: f64, pairs: usize) -> Vec<f32> {
    let plain = RopeScaling::Default.frequencies(theta, pairs, 0);
    let scaled = scaling.frequencies(theta, pairs, 0);
    plain
        .iter()
        .zip(scaled)
        .map(|(plain, scaled)| (plain / scaled) as f32)
        .collect()
}

/// The rule of Llama 3.1 with these divisors; `None` if no rule with an integral original length has them.
pub(super) fn llama3_rule(divisors: &[f32], theta: f64) -> Option<RopeScaling> {
    let factor = f64::from(divisors.iter().copied().fold(1.0, f32::max));
    let (low, high) = (1.0, 4.0);
    let rule = |original: f64| RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original,
    };
    // Each frequency on the ramp determines the original length. Without such a frequency, the usual lengths are tried.
    let plain = RopeScaling::Default.frequencies(theta, divisors.len(), 0);
    let on_ramp = (divisors.iter().zip(plain)).filter_map(|(&divisor, frequency)| {
        let kept = (1.0 / f64::from(divisor) - 1.0 / factor) / (1.0 - 1.0 / factor);
        let is_between = kept > 1e-3 && kept < 1.0 - 1e-3;
        is_between.then(|| ((kept * (high - low) + low) * TAU / frequency).round())
    });
    let usual = (7..=24).map(|power| f64::from(1_u32 << power));
    std::iter::once(8192.0)
        .chain(on_ramp)
        .chain(usual)
        .filter(|original| (1.0..=1e9).contains(original))
        .map(rule)
        .find(|rule| {
            let expected = self::divisors(rule, theta, divisors.len());
            (divisors.iter().zip(expected)).all(|(found, expected)| (found / expected - 1.0).abs() < 1e-5)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_from_its_divisors_whatever_the_original_length() {
        for (original, factor, theta, pairs) in [
            (8192.0, 8.0, 5e5, 64),
            (4096.0, 8.0, 5e5, 64),
            (2048.0, 32.0, 5e5, 32),
            (1000.0, 4.0, 1e4, 8),
            (65536.0, 16.0, 1e6, 64),
        ] {
            let scaling = RopeScaling::Llama3 {
                factor,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: original,
            };
            let written = divisors(&scaling, theta, pairs);
            let found = llama3_rule(&written, theta).expect("a rule");
            assert_eq!(divisors(&found, theta, pairs), written, "{original}: {found:?}");
        }
        assert_eq!(llama3_rule(&[1.0, 2.0, 1.0, 8.0], 1e4), None);
    }

    #[test]
    fn a_rule_with_another_ramp_is_not_taken_for_one() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 8.0,
            original_max_position_embeddings: 8192.0,
        };
        assert_eq!(llama3_rule(&divisors(&scaling, 5e5, 64), 5e5), None);
    }
}
