//! The forward and backward passes of the decoder's operations that backends may implement by hand.

#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, TensorMetadata, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::DType;
use burn::tensor::{FloatDType, IndexingUpdateOp, Shape};
use cadft_kernels::{MatmulKernels, Precision, backend_matmul};

use super::{Activation, AttentionOptions};

/// The passes on a plain (not differentiated) backend. Shapes are as in [`super::AttentionInput`] and the functions of
/// [`super`]. Under fusion each pass is one operation.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion")
)]
pub(crate) trait DecoderKernels: Backend + MatmulKernels {
    /// `x Wᵀ`.
    #[fusion(meta = |x, weight| matrix(x.shape[0], weight.shape[0]))]
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        backend_matmul::<Self>(x, Self::float_transpose(weight))
    }

    /// `g W`.
    #[fusion(meta = |grad, weight| matrix(grad.shape[0], weight.shape[1]))]
    fn linear_input_gradient(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        backend_matmul::<Self>(grad, weight)
    }

    /// `gᵀ x`.
    #[fusion(meta = |grad, x| matrix(grad.shape[1], x.shape[1]))]
    fn linear_weight_gradient(grad: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        backend_matmul::<Self>(Self::float_transpose(grad), x)
    }

    /// The sums of the columns, `[columns]`: the gradient of a bias.
    #[fusion(meta = |x| TensorSpec::new(Shape::new([x.shape[1]]), DType::F32))]
    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let columns = Shape::new([x.shape()[1]]);
        Self::float_reshape(Self::float_sum_dim(x, 0), columns)
    }

    /// A matrix of `rows` rows: zeros, plus each row of `grad` added to the row that `ids` selects.
    #[fusion(meta = |grad, _, rows| matrix(*rows, grad.shape[1]))]
    fn scatter_rows(grad: FloatTensor<Self>, ids: IntTensor<Self>, rows: usize) -> FloatTensor<Self> {
        let shape = Shape::new([rows, grad.shape()[1]]);
        let zeros = Self::float_zeros(shape, &grad.device(), FloatDType::F32);
        Self::float_select_assign(zeros, 0, ids, grad, IndexingUpdateOp::Add)
    }

    /// The normalised rows, and `1 / √(mean(x²) + ε)` of each row.
    #[fusion(meta = |x, _, _| (x.clone(), per_row(x)))]
    fn rms_norm_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradients of `x` and the weight.
    #[fusion(meta = |x, weight, _, _| (x.clone(), weight.clone()))]
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        inverse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `activation(gate) · up`, in the dtype of `precision`.
    #[fusion(meta = |_, gate, _, precision| factor(gate, precision))]
    fn gated_forward(
        activation: Activation,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;

    /// The gradients of `gate` and `up`, either in f32 or in the dtype of `precision`.
    #[fusion(meta = |_, gate, up, _, precision| (factor(gate, precision), factor(up, precision)))]
    fn gated_backward(
        activation: Activation,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Rotation and causal attention: the output, and the fields of [`AttentionSaved`] from `query` to `log_sum_exp`.
    #[allow(clippy::type_complexity, reason = "how it is routed depends on the spelling")]
    #[fusion(meta = |query, key, _, _, _, options| attention_outputs(query, key, options))]
    fn attention_forward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );

    /// The gradients of query, key and value before rotation.
    #[fusion(meta = |saved, grad| (grad.clone(), by_position(&saved.key), by_position(&saved.value)))]
    fn attention_backward(
        #[extension_type] saved: AttentionSaved<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The results of [`DecoderKernels::attention_forward`].
pub(crate) type AttentionOutputs<T> = (T, T, T, T, T, T);

/// The tensors that the forward pass of attention keeps.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct AttentionSaved<B: Backend> {
    /// Rotated and scaled, by head: `[batch, heads, seq, head_dim]`; as `key` and `value` in the format of factors where a
    /// device multiplies in it. On Flex the values of a row lie sample by sample.
    pub query: FloatTensor<B>,
    /// Rotated, `[batch, kv_heads, seq, head_dim]`.
    pub key: FloatTensor<B>,
    /// `[batch, kv_heads, seq, head_dim]`.
    pub value: FloatTensor<B>,
    /// `[batch, heads, seq, head_dim]`, f32.
    pub output: FloatTensor<B>,
    /// `[batch, heads, seq]`.
    pub log_sum_exp: FloatTensor<B>,
    /// `[batch or 1, seq, pairs]`.
    pub cos: FloatTensor<B>,
    /// `[batch or 1, seq, pairs]`.
    pub sin: FloatTensor<B>,
    /// Options of the scores.
    pub options: AttentionOptions,
}

#[cfg(feature = "fusion")]
fn matrix(rows: usize, columns: usize) -> TensorSpec {
    TensorSpec::new(Shape::new([rows, columns]), DType::F32)
}

/// The type with the same shape in the dtype of factors.
#[cfg(feature = "fusion")]
fn factor(x: &TensorSpec, precision: &Precision) -> TensorSpec {
    TensorSpec::new(x.shape.clone(), precision.dtype())
}

/// The type with one f32 for each row of the last dimension.
#[cfg(feature = "fusion")]
fn per_row(x: &TensorSpec) -> TensorSpec {
    let last = x.shape.num_dims() - 1;
    TensorSpec::new(Shape::new([x.shape.num_elements() / x.shape[last]]), DType::F32)
}

#[cfg(feature = "fusion")]
fn attention_outputs(
    query: &TensorSpec,
    key: &TensorSpec,
    options: &AttentionOptions,
) -> AttentionOutputs<TensorSpec> {
    let by_head = |x: &TensorSpec, dtype| {
        let [batch, seq, width] = x.shape.dims();
        let shape = [batch, width / options.head_dim, seq, options.head_dim];
        TensorSpec::new(Shape::new(shape), dtype)
    };
    let factor = options.precision.dtype();
    let (queries, keys) = (by_head(query, factor), by_head(key, factor));
    let output = by_head(query, DType::F32);
    let [batch, heads, seq, _] = queries.shape.dims();
    let rows = TensorSpec::new(Shape::new([batch, heads, seq]), DType::F32);
    (query.clone(), queries, keys.clone(), keys, output, rows)
}

/// The type of `[batch, heads, seq, head_dim]` in the layout `[batch, seq, heads * head_dim]`, f32.
#[cfg(feature = "fusion")]
fn by_position(x: &TensorSpec) -> TensorSpec {
    let [batch, heads, seq, head_dim] = x.shape.dims();
    TensorSpec::new(Shape::new([batch, seq, heads * head_dim]), DType::F32)
}
