//! The update of one parameter as one operation of every backend.
//!
//! ```text
//! m ← β₁·m + (1−β₁)·g          v ← β₂·v + (1−β₂)·g²
//! θ ← keep·θ − η·(m/c₁) / (√(v/c₂) + ε)          keep = 1−η·λ,  c = 1−βᵗ
//! ```
//!
//! where g is the gradient times a factor that is on the device, and nothing changes if that is negative.
//!
//! The default body is the chain of Burn's `AdamW`, and the test oracle. Flex and CubeCL's backends go through the values
//! once, in place where nothing else holds the tensors; on Flex the result is the same bits.

#![cfg_attr(
    feature = "ndarray",
    allow(deprecated, reason = "Burn deprecates ndarray; it was promised to users")
)]

#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "ndarray")]
use burn::backend::NdArray;
use burn::backend::TensorMetadata;
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::DType;
use burn::tensor::{BoolDType, Shape, Tensor};

#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;

/// The numbers of one update of one parameter.
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
    /// What decay leaves of the parameter, 1 where there is none.
    pub(crate) keep: f32,
}

/// The new parameter and its moments, from the old ones and a gradient of the same shape, and a factor `[1]`; all f32.
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

/// The sum of the squares of a gradient in f32, `[1]`.
pub(crate) fn sum_of_squares<const D: usize>(grad: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sum_of_squares(grad.into_dispatch()))
}

#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub(crate) trait UpdateKernel: Backend {
    /// The parameter and its two moments after an update.
    #[fusion(meta = |value, _, _, first, second, _| (value.clone(), first.clone(), second.clone()))]
    fn adamw(
        value: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: Rates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::<Self>([value, first, second], grad, factor, rates)
    }

    /// The sum of the squares of a gradient, `[1]`.
    #[fusion(meta = |_| TensorSpec::new(Shape::new([1]), DType::F32))]
    fn sum_of_squares(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_sum(Self::float_mul(grad.clone(), grad))
    }
}

#[cfg(feature = "ndarray")]
impl UpdateKernel for NdArray {}

#[cfg(feature = "flex")]
impl UpdateKernel for Flex {
    fn adamw(
        value: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: Rates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        flex::adamw([value, first, second], grad, factor, rates)
    }
}

fn portable<B: Backend>(
    before: [FloatTensor<B>; 3],
    grad: FloatTensor<B>,
    factor: FloatTensor<B>,
    rates: Rates,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let Rates {
        betas,
        corrections,
        eps,
        lr,
        keep,
    } = rates;
    let shape = grad.shape();
    let factor = B::float_reshape(factor, Shape::from(vec![1; shape.num_dims()]));
    let factor = B::float_expand(factor, shape);
    let is_left_out = B::float_lower_elem(factor.clone(), 0f32.into(), BoolDType::Native);
    let scaled = |x: FloatTensor<B>, factor: f32| B::float_mul_scalar(x, factor.into());
    let blend = |old, beta: f32, new| B::float_add(scaled(old, beta), scaled(new, 1.0 - beta));
    let [value, first, second] = before.clone();
    let grad = B::float_mul(grad, factor);
    let square = B::float_mul(grad.clone(), grad.clone());
    let first = blend(first, betas[0], grad);
    let second = blend(second, betas[1], square);
    let mean = B::float_div_scalar(first.clone(), corrections[0].into());
    let scale = B::float_sqrt(B::float_div_scalar(second.clone(), corrections[1].into()));
    let delta = B::float_div(mean, B::float_add_scalar(scale, eps.into()));
    let value = B::float_sub(scaled(value, keep), scaled(delta, lr));
    let kept = |new, old| B::float_mask_where(new, is_left_out.clone(), old);
    let [old_value, old_first, old_second] = before;
    (
        kept(value, old_value),
        kept(first, old_first),
        kept(second, old_second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// `value`, `grad`, both moments.
    fn problem(shape: [usize; 2], device: &Device) -> [Tensor<2>; 4] {
        [1, 2, 3, 4].map(|seed| {
            let mut values = drawn(shape[0] * shape[1], seed);
            if seed == 4 {
                // A second moment is not negative.
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
            let expected = portable::<Flex>(
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
