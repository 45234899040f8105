//! A low-rank update of a linear layer: LoRA (Hu et al. 2021, arXiv 2106.09685) and DoRA (Liu et al. 2024,
//! arXiv 2402.09353), as PEFT defines them.
//!
//! ```text
//! LoRA   y = W x + s B A x                                s = α / rank, or α / √rank (rsLoRA, arXiv 2312.03732)
//! DoRA   y = (m / ‖W + s B A‖) (W x + s B A x)            norms of rows, held constant in the backward pass
//! ```
//!
//! `W + s B A` is never computed. The update is applied to the activations, and the norms are expanded into products
//! with the two factors.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Weight;
use super::precision::{Precision, project};
use crate::adapter::{AdapterConfig, AdapterKind, DropoutClock};
use crate::fused;
use crate::parameters::{Parameters, name_hash};

/// The factors of a low-rank update.
#[derive(Module, Debug)]
pub struct LowRank {
    /// `A`, `[rank, input]`.
    pub lora_a: Param<Tensor<2>>,
    /// `B`, `[output, rank]`.
    pub lora_b: Param<Tensor<2>>,
    /// `m`, `[output]`; only for DoRA.
    pub lora_magnitude_vector: Option<Param<Tensor<1>>>,
    scaling: f64,
    #[module(skip)]
    dropout: Dropout,
}

/// Dropout of the update's input.
#[derive(Clone, Debug)]
struct Dropout {
    probability: f64,
    stream: u64,
    clock: DropoutClock,
}

impl LowRank {
    /// The update of the layer `name`, whose weight is `[output, input]`.
    pub(crate) fn new(
        name: &str,
        [output, input]: [usize; 2],
        config: &AdapterConfig,
        clock: &DropoutClock,
        make: &mut Parameters<'_>,
    ) -> Self {
        let rank = config.rank_of(name);
        Self {
            lora_a: make.param(&format!("{name}.lora_A.weight"), [rank, input]),
            lora_b: make.param(&format!("{name}.lora_B.weight"), [output, rank]),
            lora_magnitude_vector: (config.kind == AdapterKind::Dora)
                .then(|| make.param(&format!("{name}.lora_magnitude_vector"), [output])),
            scaling: config.scaling_of(name),
            dropout: Dropout {
                probability: config.dropout,
                stream: name_hash(name),
                clock: clock.clone(),
            },
        }
    }

    /// Whether dropout is applied in training.
    pub(crate) fn has_dropout(&self) -> bool {
        self.dropout.probability > 0.0
    }

    /// The output of the layer, given its input `x` and `y = W x`.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - `y`, output: `[batch, seq, output]`
    pub(super) fn update(
        &self,
        x: Tensor<3>,
        y: Tensor<3>,
        weight: &Weight,
        precision: Precision,
    ) -> Tensor<3> {
        let mask = self.dropout.mask(&x);
        let is_dropped = mask.is_some();
        let x = match mask {
            Some(mask) => x * mask,
            None => x,
        };
        let low = project(x.clone(), self.lora_a.val(), precision) * self.scaling; // [batch, seq, rank]
        let low = project(low, self.lora_b.val(), precision); // [batch, seq, output]
        let Some(magnitude) = &self.lora_magnitude_vector else {
            return y + low;
        };
        let factor = (magnitude.val() / self.norms(weight)).unsqueeze::<3>(); // [1, 1, output]
        if is_dropped {
            let dropped = weight.project(x, precision);
            return y + dropped * (factor.clone() - 1.0) + low * factor;
        }
        (y + low) * factor
    }

    /// The Euclidean norms of the rows of `W + s B A`, off the autodiff graph.
    ///
    /// ```text
    /// ‖w + s b A‖² = ‖w‖² + 2 s b·(A w) + s² b·(A Aᵀ b)
    /// ```
    fn norms(&self, weight: &Weight) -> Tensor<1> {
        let (a, b) = (self.lora_a.val().detach(), self.lora_b.val().detach());
        let cross = weight.times(a.clone()) * b.clone(); // [output, rank]
        let own = fused::linear(b.clone(), fused::linear(a.clone(), a)) * b; // [output, rank]
        let update = cross * (2.0 * self.scaling) + own * (self.scaling * self.scaling);
        let squares = weight.row_squares() + update.sum_dim(1); // [output, 1]
        let [output, _] = squares.dims();
        squares.sqrt().reshape([output])
    }

    /// Number of zero rows of `W + s B A`; 0 if the update has no magnitudes.
    pub(crate) fn zero_rows(&self, weight: &Weight) -> usize {
        if self.lora_magnitude_vector.is_none() {
            return 0;
        }
        let norms = self.norms(weight).to_data();
        norms.iter::<f32>().filter(|norm| *norm == 0.0).count()
    }

    /// The weight in f32 with the update merged into it.
    pub(crate) fn merged(&self, weight: &Weight) -> Tensor<2> {
        let delta = fused::linear(self.lora_b.val(), self.lora_a.val().transpose());
        let merged = weight.val() + delta * self.scaling;
        match &self.lora_magnitude_vector {
            Some(magnitude) => merged * (magnitude.val() / self.norms(weight)).unsqueeze_dim(1),
            None => merged,
        }
    }
}

impl Dropout {
    /// A mask with 0 with probability `p` and otherwise `1 / (1 − p)`; `None` if dropout is inactive.
    fn mask(&self, x: &Tensor<3>) -> Option<Tensor<3>> {
        let device = x.device();
        if self.probability == 0.0 || !(device.is_autodiff() || self.clock.is_forced()) {
            return None;
        }
        let mut generator = ChaCha8Rng::seed_from_u64(self.clock.now());
        generator.set_stream(self.stream);
        let kept = (1.0 / (1.0 - self.probability)) as f32;
        let dims = x.dims();
        let mask: Vec<f32> = (0..dims.iter().product())
            .map(|_| {
                if f64::from(generator.random::<f32>()) < self.probability {
                    0.0
                } else {
                    kept
                }
            })
            .collect();
        Some(Tensor::from_data(TensorData::new(mask, dims), &device))
    }
}
