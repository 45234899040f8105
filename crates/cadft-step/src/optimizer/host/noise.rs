//! Random bits for rounding, computed of where they are used: no state is kept, and no order matters.
//!
//! ```text
//! key  = mix(mix(mix(seed) ⊕ parameter) ⊕ update)          64 bits, mix of SplitMix64
//! bits = f(f(i mod 2³² ⊕ key mod 2³²) + ⌊key/2³²⌋ + ⌊i/2³²⌋)   32 bits for value i, f the finaliser of MurmurHash3
//! ```
//!
//! Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (2014), for `mix`.

/// The bits for one update of one parameter, from a value of it on.
#[derive(Clone, Copy, Debug)]
pub(in crate::optimizer) struct Noise {
    key: [u32; 2],
    start: u64,
}

impl Noise {
    /// The bits from the first value on. `parameter` is the hash of its name, `update` the number of the update.
    pub(in crate::optimizer) fn new(seed: u64, parameter: u64, update: u64) -> Self {
        let key = mix(mix(mix(seed) ^ parameter) ^ update);
        Self {
            key: [key as u32, (key >> 32) as u32],
            start: 0,
        }
    }

    /// The bits from `values` values later on.
    pub(in crate::optimizer) fn after(self, values: usize) -> Self {
        Self {
            start: self.start + values as u64,
            ..self
        }
    }

    /// 32 bits for the value `index` places after the first.
    #[inline(always)]
    pub(super) fn at(self, index: usize) -> u32 {
        let at = self.start + index as u64;
        let [low, high] = self.key;
        finalise(
            finalise(at as u32 ^ low)
                .wrapping_add(high)
                .wrapping_add((at >> 32) as u32),
        )
    }
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[inline(always)]
fn finalise(x: u32) -> u32 {
    let x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_depend_on_seed_parameter_update_and_place_alone() {
        let noise = Noise::new(1, 2, 3);
        assert_eq!(noise.at(70_000), noise.after(69_000).at(1000));
        let others = [Noise::new(2, 2, 3), Noise::new(1, 3, 3), Noise::new(1, 2, 4)];
        for other in others {
            let same = (0..1000).filter(|&at| noise.at(at) == other.at(at)).count();
            assert!(same < 3, "{same} of 1000");
        }
    }

    #[test]
    fn every_bit_is_set_half_of_the_time_and_neighbours_do_not_agree() {
        const COUNT: usize = 1 << 16;
        let noise = Noise::new(42, 7, 1);
        for bit in 0..32 {
            let of = |at: usize| noise.at(at) >> bit & 1;
            let set: u32 = (0..COUNT).map(of).sum();
            let changes: u32 = (0..COUNT).map(|at| of(at) ^ of(at + 1)).sum();
            // Six standard deviations.
            for found in [set, changes] {
                assert!(
                    (f64::from(found) - 32_768.0).abs() < 6.0 * 128.0,
                    "bit {bit}: {found}"
                );
            }
        }
    }
}
