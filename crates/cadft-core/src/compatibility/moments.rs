//! Count, mean and variance that can be merged: the result does not depend on how a batch is split.

/// Mergeable moments (Welford; Chan, Golub and LeVeque), in f64.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    count: f64,
    mean: f64,
    sum_of_squares: f64,
}

impl Moments {
    /// Adds one value.
    pub fn push(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.sum_of_squares += delta * (value - self.mean);
    }

    /// Merges two disjoint sets of values.
    ///
    /// # Examples
    /// ```
    /// use cadft_core::Moments;
    ///
    /// let [first, second] = [[1.0, 2.0], [3.0, 6.0]].map(|part| part.into_iter().collect::<Moments>());
    /// let all = first.merge(second);
    /// assert_eq!((all.count(), all.mean()), (4.0, 3.0));
    /// ```
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if self.count == 0.0 {
            return other;
        }
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * other.count / count,
            sum_of_squares: self.sum_of_squares
                + other.sum_of_squares
                + delta * delta * self.count * other.count / count,
        }
    }

    /// Number of values seen.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Mean of the values; 0 if there are none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Population variance of the values; 0 for fewer than two.
    ///
    /// Deviation: the paper does not say which variance it means; the sample estimate is undefined for a batch of one.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.count > 1.0 {
            (self.sum_of_squares / self.count).max(0.0)
        } else {
            0.0
        }
    }

    /// Population standard deviation of the values; 0 for fewer than two.
    #[must_use]
    pub fn std(&self) -> f64 {
        self.variance().sqrt()
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        for value in values {
            moments.push(value);
        }
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
    }

    proptest! {
        #[test]
        fn moments_equal_the_two_pass_formula(values in prop::collection::vec(-1e3f64..1e3, 1..60)) {
            let moments: Moments = values.iter().copied().collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            prop_assert!(close(moments.mean(), mean));
            prop_assert!(close(moments.variance(), variance));
        }

        #[test]
        fn merging_any_split_changes_nothing(
            values in prop::collection::vec(-1e3f64..1e3, 1..60), cut in 0usize..60, cut2 in 0usize..60,
        ) {
            let (a, b) = (cut.min(values.len()), cut2.min(values.len()));
            let (a, b) = (a.min(b), a.max(b));
            let part = |range: std::ops::Range<usize>| values[range].iter().copied().collect::<Moments>();
            let merged = part(0..a).merge(part(a..b)).merge(part(b..values.len()));
            let whole: Moments = values.iter().copied().collect();
            prop_assert!(close(merged.mean(), whole.mean()));
            prop_assert!(close(merged.variance(), whole.variance()));
            prop_assert_eq!(merged.count(), whole.count());
        }
    }

    #[test]
    fn one_value_and_none_have_no_spread() {
        assert_eq!(Moments::default().std(), 0.0);
        assert_eq!([3.0].into_iter().collect::<Moments>().std(), 0.0);
    }
}
