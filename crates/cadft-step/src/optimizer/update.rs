//! The update of one parameter, as a single operation on every backend.
//!
//! ```text
//! m ← β₁·m + (1−β₁)·g          v ← β₂·v + (1−β₂)·g²
//! θ ← keep·θ − η·(m/c₁) / (√(v/c₂) + ε)          keep = 1−η·λ,  c = 1−βᵗ
//! ```
//!
//! `g` is the gradient times a factor that is on the device. If the factor is negative, nothing changes.
//!
//! The portable body is the sequence of operations in Burn's `AdamW`, and the test oracle. Flex and the CubeCL backends
//! make one pass over the values, in place if nothing else holds the tensors. On Flex the result has the same bits.

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use kernels::UpdateKernels;

#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod kernels;
mod portable;
pub(super) mod slices;

/// The scalars in the update of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// β₁ and β₂.
    pub(crate) betas: [f32; 2],
    /// c₁ and c₂.
    pub(crate) corrections: [f32; 2],
    /// ε.
    pub(crate) eps: f32,
    /// η.
    pub(crate) lr: f32,
    /// The factor that weight decay multiplies the parameter by; 1 without decay.
    pub(crate) keep: f32,
}

/// The new parameter and its moments, from the old ones, a gradient of the same shape, and a factor `[1]`; all f32.
pub(super) fn update<const D: usize>(
    value: Tensor<D>,
    grad: Tensor<D>,
    factor: Tensor<1>,
    [first, second]: [Tensor<D>; 2],
    rates: Rates,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let (value, first, second) = Dispatch::adamw(
        value.into_dispatch(),
        grad.into_dispatch(),
        factor.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        rates,
    );
    (
        Tensor::from_dispatch(value),
        [Tensor::from_dispatch(first), Tensor::from_dispatch(second)],
    )
}

/// `sum + part`, in place where nothing else holds `sum`.
pub(crate) fn add<const D: usize>(sum: Tensor<D>, part: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::accumulate(sum.into_dispatch(), part.into_dispatch()))
}

/// The sum of the squares of a gradient in f32, `[1]`.
pub(crate) fn sum_of_squares<const D: usize>(grad: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sum_of_squares(grad.into_dispatch()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "flex")]
    use burn::backend::{Flex, tensor::FloatTensor};
    use burn::tensor::{Device, TensorData};

    const RATES: Rates = Rates {
        betas: [0.9, 0.95],
        corrections: [0.271, 0.142_625],
        eps: 1e-8,
        lr: 3e-4,
        keep: 0.999_997,
    };

    fn drawn(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn bits<const D: usize>(x: &Tensor<D>) -> Vec<u32> {
        x.to_data().iter::<f32>().map(f32::to_bits).collect()
    }

    /// `value`, `grad`, and both moments.
    fn problem(shape: [usize; 2], device: &Device) -> [Tensor<2>; 4] {
        [1, 2, 3, 4].map(|seed| {
            let mut values = drawn(shape[0] * shape[1], seed);
            if seed == 4 {
                // A second moment is never negative.
                values.iter_mut().for_each(|value| *value *= *value);
            }
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }

    fn factor(value: f32, device: &Device) -> Tensor<1> {
        Tensor::from_floats([value], device)
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_of_the_cpu_gives_the_bits_of_the_operations() {
        for (shape, clipped) in [([1, 1], 1.0), ([3, 5], 0.3), ([129, 257], 0.7), ([2, 3], -1.0)] {
            let [value, grad, first, second] = problem(shape, &Device::flex());
            let factor = factor(clipped, &Device::flex());
            let inner = |data: TensorData| FloatTensor::<Flex>::from_data(data);
            let expected = portable::adamw::<Flex>(
                [&value, &first, &second].map(|x| inner(x.to_data())),
                inner(grad.to_data()),
                inner(factor.to_data()),
                RATES,
            );
            let (value, [first, second]) = update(value, grad, factor, [first, second], RATES);
            for (found, expected) in [(value, expected.0), (first, expected.1), (second, expected.2)] {
                let expected: Vec<u32> = expected.into_data().iter::<f32>().map(f32::to_bits).collect();
                assert_eq!(bits(&found), expected, "{shape:?}");
            }
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn sums_and_squares_of_the_cpu_are_those_of_the_operations() {
        for shape in [[1, 1], [3, 5], [129, 257]] {
            let [value, grad, ..] = problem(shape, &Device::flex());
            let expected = value.clone() + grad.clone();
            assert_eq!(bits(&add(value, grad.clone())), bits(&expected), "{shape:?}");
            let exact: f64 = grad
                .to_data()
                .iter::<f32>()
                .map(|x| f64::from(x) * f64::from(x))
                .sum();
            let found = f64::from(sum_of_squares(grad).into_scalar::<f32>());
            assert!(
                (found - exact).abs() <= 1e-6 * exact,
                "{shape:?}: {found} {exact}"
            );
        }
    }

    #[test]
    fn tensors_that_are_held_elsewhere_stay_as_they_were() {
        let device = Device::default();
        let [value, grad, first, second] = problem([4, 6], &device);
        let before = [&value, &grad, &first, &second].map(bits);
        let (updated, _) = update(
            value.clone(),
            grad.clone(),
            factor(1.0, &device),
            [first.clone(), second.clone()],
            RATES,
        );
        assert_eq!([&value, &grad, &first, &second].map(bits), before);
        assert_ne!(bits(&updated), before[0]);
    }
}
