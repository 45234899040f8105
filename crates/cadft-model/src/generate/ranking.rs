//! Tokens in order of decreasing logit, sorted only as far as needed.

/// Tokens by decreasing logit, and by increasing id if logits are equal. Logits of −∞ are left out.
pub(super) struct Ranking<'a> {
    logits: &'a [f32],
    max: f32,
    ranked: Vec<u32>,
    /// All tokens with at least this logit are ranked.
    floor: f32,
    /// Distance of the next floor below the maximum.
    depth: f64,
    steps: usize,
}

/// Depth of the first floor in units of the temperature. A token there has 3e-4 of the largest probability.
const DEPTH: f64 = 8.0;
/// Number of floors before everything is ranked.
const STEPS: usize = 3;

impl<'a> Ranking<'a> {
    /// A ranking of logits for sampling with this temperature.
    pub(super) fn new(logits: &'a [f32], temperature: f64) -> Self {
        Self {
            logits,
            max: logits.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            ranked: vec![],
            floor: f32::INFINITY,
            depth: DEPTH * temperature,
            steps: 0,
        }
    }

    /// The largest logit.
    pub(super) fn max(&self) -> f32 {
        self.max
    }

    /// The token at a rank, counted from 0; `None` if there are fewer tokens.
    pub(super) fn get(&mut self, rank: usize) -> Option<u32> {
        while self.ranked.len() <= rank && self.floor > f32::MIN {
            self.descend();
        }
        self.ranked.get(rank).copied()
    }

    /// Lowers the floor and ranks the tokens above it.
    fn descend(&mut self) {
        let floor = if self.steps == STEPS {
            f32::MIN
        } else {
            ((f64::from(self.max) - self.depth) as f32).max(f32::MIN)
        };
        let above = self.ranked.len();
        let ceiling = self.floor;
        self.ranked.extend(
            (0u32..)
                .zip(self.logits)
                .filter(|&(_, &logit)| logit >= floor && logit < ceiling)
                .map(|(token, _)| token),
        );
        // Adding zero turns −0 into 0.
        let logit = |token: &u32| self.logits[*token as usize] + 0.0;
        self.ranked[above..].sort_unstable_by(|a, b| logit(b).total_cmp(&logit(a)).then(a.cmp(b)));
        self.floor = floor;
        self.steps += 1;
        self.depth *= 4.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_a_full_sort_with_ties_by_id() {
        let logits: Vec<f32> = (0..500u32)
            .map(|i| ((i * 7919) % 97) as f32 - 60.0 - (i % 3) as f32 * 300.0)
            .chain([f32::NEG_INFINITY, -0.0, 0.0, f32::MIN])
            .collect();
        let mut expected: Vec<u32> = (0..504).filter(|&i| i != 500).collect();
        expected.sort_by(|&a, &b| logits[b as usize].partial_cmp(&logits[a as usize]).unwrap());
        for temperature in [1e-9, 0.7, 1.0, 1e9] {
            let mut ranking = Ranking::new(&logits, temperature);
            let found: Vec<u32> = (0..600).map_while(|rank| ranking.get(rank)).collect();
            assert_eq!(found, expected);
        }
    }
}
