//! The fused likelihood on the backends that CubeCL compiles: CUDA, ROCm, Metal, Vulkan, WebGPU.
//!
//! The vocabulary is cut into tiles. A matrix product, on tensor cores if the device has them, gives the logits of all
//! tokens for one tile, in f32. One kernel merges the tile into a running maximum and sum of every row (the online
//! log-sum-exp). Another turns a tile into its gradient. Each tile completes its own rows of the weight's gradient, so
//! no `[vocab, hidden]` sum is accumulated. Memory beyond inputs and gradients is one tile.

use super::chunk::chunks;
use super::inputs::{Logits, Saved, Wanted};
use super::kernels::LikelihoodKernels;
use super::portable::{bent, straightened};
use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cadft_kernels::{add_rows, cast, cube_input_gradient, cube_matmul, cube_weight_gradient};

mod kernel;

use kernel::{THREADS, logit_gradients, online_log_sum_exp};

impl LikelihoodKernels for CubeBackend {
    fn likelihood_forward(
        hidden: CubeTensor,
        weight: CubeTensor,
        targets: CubeTensor,
        logits: Logits,
    ) -> (CubeTensor, CubeTensor) {
        let problem = Problem::new(hidden, weight, targets, logits);
        let [max, sum, of_target] = std::array::from_fn(|_| problem.per_token());
        for (start, end) in problem.tiles() {
            let logits = problem.logits(problem.weight_rows(start, end));
            problem.take_in(&logits, start, [&max, &sum, &of_target]);
        }
        let log_sum_exp = Self::float_add(Self::float_log(sum), max);
        (Self::float_sub(of_target, log_sum_exp.clone()), log_sum_exp)
    }

    fn likelihood_backward(saved: Saved<Self>, grad: CubeTensor) -> (CubeTensor, CubeTensor) {
        let (d_hidden, d_weight) = backward(saved, grad, Wanted::Both);
        (d_hidden, d_weight.expect("both were asked for"))
    }

    fn likelihood_backward_hidden(saved: Saved<Self>, grad: CubeTensor) -> CubeTensor {
        backward(saved, grad, Wanted::Hidden).0
    }
}

fn backward(saved: Saved<CubeBackend>, grad: CubeTensor, wanted: Wanted) -> (CubeTensor, Option<CubeTensor>) {
    let problem = Problem::new(saved.hidden, saved.weight, saved.targets, saved.logits);
    let (log_sum_exp, grad) = (into_contiguous(saved.log_sum_exp), into_contiguous(grad));
    let size = problem.size;
    let mut d_hidden: Option<CubeTensor> = None;
    let mut d_weight = (wanted == Wanted::Both).then(|| {
        let shape = Shape::new([1, problem.vocab, size]);
        CubeBackend::float_zeros(shape, &problem.hidden.device, DType::F32.into())
    });
    for (start, end) in problem.tiles() {
        let weight = problem.weight_rows(start, end);
        let logits = problem.logits(weight.clone());
        let d_logits = problem.differentiate(&logits, start, [&log_sum_exp, &grad]);
        if let Some(whole) = d_weight {
            let part = cube_weight_gradient(d_logits.clone(), problem.hidden.clone());
            let part = CubeBackend::float_reshape(part, Shape::new([1, end - start, size]));
            d_weight = Some(add_rows(whole, part, start));
        }
        let part = cube_input_gradient(d_logits, weight);
        d_hidden = Some(match d_hidden {
            Some(sum) => CubeBackend::float_add(sum, part),
            None => part,
        });
    }
    let d_hidden = d_hidden.expect("there is a vocabulary");
    let matrix = Shape::new([problem.vocab, size]);
    let d_weight = d_weight.map(|whole| CubeBackend::float_reshape(whole, matrix));
    (d_hidden, d_weight)
}

/// The inputs, contiguous.
struct Problem {
    hidden: CubeTensor,
    weight: CubeTensor,
    targets: CubeTensor,
    tokens: usize,
    vocab: usize,
    size: usize,
    columns: usize,
    softcap: Option<f32>,
}

impl Problem {
    fn new(hidden: CubeTensor, weight: CubeTensor, targets: CubeTensor, logits: Logits) -> Self {
        let [tokens, size] = hidden.shape().dims();
        let [vocab, _] = weight.shape().dims();
        Self {
            hidden: into_contiguous(hidden),
            weight: into_contiguous(weight),
            targets: into_contiguous(targets),
            tokens,
            vocab,
            size,
            columns: logits.chunk.columns(tokens, vocab),
            softcap: logits.softcap,
        }
    }

    /// Consecutive ranges of the vocabulary.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> {
        chunks(self.vocab, self.columns)
    }

    /// Rows `start..end` of the weight in the dtype of `hidden`. Only this tile of the rounded weight exists.
    fn weight_rows(&self, start: usize, end: usize) -> CubeTensor {
        let rows = [Slice::from(start..end), Slice::from(0..self.size)];
        let rows = CubeBackend::float_slice(self.weight.clone(), &rows);
        cast::<CubeBackend>(rows, self.hidden.dtype())
    }

    /// Logits of a tile of the vocabulary at every position, `[tokens, columns]`, f32.
    fn logits(&self, weight_rows: CubeTensor) -> CubeTensor {
        let weight_t = CubeBackend::float_transpose(weight_rows);
        let products = cube_matmul(self.hidden.clone(), weight_t, DType::F32);
        into_contiguous(bent::<CubeBackend>(products, self.softcap))
    }

    /// Merges a tile into the running maximum, the running sum and the target's logit, each `[tokens]`.
    fn take_in(&self, logits: &CubeTensor, first_column: usize, [max, sum, of_target]: [&CubeTensor; 3]) {
        // A grid has at most 65535 cubes along a side.
        let side = (self.tokens as u32).min(1 << 15);
        let count = CubeCount::Static(side, (self.tokens as u32).div_ceil(side), 1);
        online_log_sum_exp::launch(
            &logits.client,
            count,
            CubeDim::new_1d(THREADS as u32),
            logits.clone().into_tensor_arg(),
            self.targets.clone().into_tensor_arg(),
            max.clone().into_tensor_arg(),
            sum.clone().into_tensor_arg(),
            of_target.clone().into_tensor_arg(),
            first_column as u32,
            first_column == 0,
            dtype_to_elem_type(self.targets.dtype),
        );
    }

    /// `grad · (onehot − softmax)` of a tile, times the derivative of the soft-cap, in the dtype of `hidden`.
    fn differentiate(
        &self,
        logits: &CubeTensor,
        first_column: usize,
        [log_sum_exp, grad]: [&CubeTensor; 2],
    ) -> CubeTensor {
        let [tokens, columns] = logits.shape().dims();
        let dtype = match self.softcap {
            Some(_) => DType::F32,
            None => self.hidden.dtype(),
        };
        let output = self.empty([tokens, columns], dtype);
        let values = tokens * columns;
        let dim = CubeDim::new(&logits.client, values);
        logit_gradients::launch(
            &logits.client,
            calculate_cube_count_elemwise(&logits.client, values, dim),
            dim,
            logits.clone().into_tensor_arg(),
            self.targets.clone().into_tensor_arg(),
            log_sum_exp.clone().into_tensor_arg(),
            grad.clone().into_tensor_arg(),
            output.clone().into_tensor_arg(),
            first_column as u32,
            [dtype_to_elem_type(dtype), dtype_to_elem_type(self.targets.dtype)],
        );
        if self.softcap.is_none() {
            return output;
        }
        let output = straightened::<CubeBackend>(output, logits.clone(), self.softcap);
        cast::<CubeBackend>(output, self.hidden.dtype())
    }

    /// An uninitialised f32 tensor, `[tokens]`.
    fn per_token(&self) -> CubeTensor {
        self.empty([self.tokens], DType::F32)
    }

    /// An uninitialised contiguous tensor.
    fn empty<const D: usize>(&self, shape: [usize; D], dtype: DType) -> CubeTensor {
        let (client, device) = (self.hidden.client.clone(), self.hidden.device.clone());
        empty_device_contiguous_dtype(client, device, Shape::new(shape), dtype)
    }
}
