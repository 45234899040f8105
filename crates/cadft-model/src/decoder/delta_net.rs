//! Linear attention of Qwen3.5: Gated `DeltaNet` (arXiv 2412.06464).
//!
//! ```text
//! q, k, v = silu(causal convolution of W_qkv x)
//! q, k    ← q / √(Σ q² + ε) · key_dim^−½,  k / √(Σ k² + ε)                   head by head, ε = 1e-6
//! β       = σ(W_b x),   g = −e^{A_log} · softplus(W_a x + dt_bias)           a number of each value head
//! o       = gated delta rule of q, k, v, g, β
//! y       = W_out (norm(o) · silu(W_z x))                                    the norm head by head
//! ```

#![expect(non_snake_case, reason = "a field has the name of the checkpoint's tensor")]

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation};

use super::linear::{Bias, Linear, shared_factor};
use super::{Context, Precision, RmsNorm};
use crate::cache::LayerCache;
use crate::config::{LinearAttention, ModelConfig};
use crate::delta::{self, DeltaHeads, DeltaInput, Pass};
use crate::fused::{self, Activation};
use crate::parameters::Parameters;

/// Added to the sum of squares of a head of queries or keys.
const EPSILON: f64 = 1e-6;

/// Linear attention.
#[derive(Module, Debug)]
pub struct DeltaNet {
    /// Projection of queries, keys and values.
    pub in_proj_qkv: Linear,
    /// Projection of the gate.
    pub in_proj_z: Linear,
    /// Projection of `β`.
    pub in_proj_b: Linear,
    /// Projection of the decay.
    pub in_proj_a: Linear,
    /// The convolution.
    pub conv1d: CausalConv,
    /// Logarithm of the strength of the decay, `[value_heads]`.
    pub A_log: Param<Tensor<1>>,
    /// Bias of the decay, `[value_heads]`.
    pub dt_bias: Param<Tensor<1>>,
    /// Norm of each head of the output.
    pub norm: RmsNorm,
    /// Output projection.
    pub out_proj: Linear,
    #[module(skip)]
    heads: DeltaHeads,
    /// Numbers in the state of a sequence.
    #[module(skip)]
    state: usize,
}

/// A convolution of each channel with itself, over the tokens before.
#[derive(Module, Debug)]
pub struct CausalConv {
    /// `[channels, 1, kernel]`.
    pub weight: Param<Tensor<3>>,
}

impl DeltaNet {
    pub(crate) fn new(
        config: &ModelConfig,
        attention: &LinearAttention,
        index: usize,
        make: &mut Parameters<'_>,
    ) -> Self {
        let name = format!("model.layers.{index}.linear_attn");
        let hidden = config.hidden_size;
        let (heads, width) = (attention.heads(), attention.value_width());
        let mut linear =
            |part: &str, shape: [usize; 2]| Linear::new(&format!("{name}.{part}"), shape, Bias::Absent, make);
        let in_proj_qkv = linear("in_proj_qkv", [attention.channels(), hidden]);
        let in_proj_z = linear("in_proj_z", [width, hidden]);
        let in_proj_b = linear("in_proj_b", [heads.value_heads, hidden]);
        let in_proj_a = linear("in_proj_a", [heads.value_heads, hidden]);
        let shape = [attention.channels(), 1, attention.linear_conv_kernel_dim];
        let conv1d = CausalConv {
            weight: make.param(&format!("{name}.conv1d.weight"), shape),
        };
        let strength = make.param(&format!("{name}.A_log"), [heads.value_heads]);
        let dt_bias = make.param(&format!("{name}.dt_bias"), [heads.value_heads]);
        let norm = RmsNorm::new(&format!("{name}.norm"), heads.value_dim, config, make).without_offset();
        let out_proj = Linear::new(&format!("{name}.out_proj"), [hidden, width], Bias::Absent, make);
        Self {
            in_proj_qkv,
            in_proj_z,
            in_proj_b,
            in_proj_a,
            conv1d,
            A_log: strength,
            dt_bias,
            norm,
            out_proj,
            heads,
            state: attention.state(),
        }
    }

    /// The projections, by name.
    pub(crate) fn linears(&self) -> [(&'static str, &Linear); 5] {
        [
            ("in_proj_qkv", &self.in_proj_qkv),
            ("in_proj_z", &self.in_proj_z),
            ("in_proj_b", &self.in_proj_b),
            ("in_proj_a", &self.in_proj_a),
            ("out_proj", &self.out_proj),
        ]
    }

    /// As [`DeltaNet::linears`], to change them.
    pub(crate) fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 5] {
        [
            ("in_proj_qkv", &mut self.in_proj_qkv),
            ("in_proj_z", &mut self.in_proj_z),
            ("in_proj_b", &mut self.in_proj_b),
            ("in_proj_a", &mut self.in_proj_a),
            ("out_proj", &mut self.out_proj),
        ]
    }

    /// Bytes of the state of one sequence.
    pub(crate) fn state_bytes(&self) -> u64 {
        4 * self.state as u64
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<3>, // [rows, seq, hidden]
        context: &Context,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let [rows, seq, _] = x.dims();
        let tokens = rows * seq;
        let x = shared_factor(
            x,
            [
                &self.in_proj_qkv,
                &self.in_proj_z,
                &self.in_proj_b,
                &self.in_proj_a,
            ],
        );
        let project = |linear: &Linear| {
            let y = linear.forward(x.clone());
            let [_, _, width] = y.dims();
            y.reshape([tokens, width])
        };
        let mixed = project(&self.in_proj_qkv);
        let beta = activation::sigmoid(project(&self.in_proj_b));
        let rate = softplus(project(&self.in_proj_a) + self.dt_bias.val().unsqueeze());
        let decay = -(rate * self.A_log.val().exp().unsqueeze());
        let pass = context.pass(rows, seq);
        let weight = self.conv1d.weight.val().squeeze_dim(1); // [channels, kernel]
        let output = match cache {
            None => {
                let mixed = delta::causal_conv(mixed, weight, &pass.segments);
                delta::delta_rule(self.input(&mixed, decay, beta, &pass))
            }
            Some(cache) => {
                let state = cache.state();
                let mixed = state.causal_conv(mixed, weight, &pass);
                state.delta_rule(self.input(&mixed, decay, beta, &pass), &pass)
            }
        };
        let DeltaHeads {
            value_heads,
            value_dim,
            ..
        } = self.heads;
        let by_head = [1, tokens * value_heads, value_dim];
        let normed = self.norm.forward(output.reshape(by_head));
        let gate = project(&self.in_proj_z).reshape(by_head);
        let output = fused::gated(Activation::Silu, gate, normed, Precision::F32);
        self.out_proj
            .forward(output.reshape([rows, seq, value_heads * value_dim]))
    }

    /// The input of the rule, from queries, keys and values next to each other, `[tokens, channels]`.
    fn input(&self, mixed: &Tensor<2>, decay: Tensor<2>, beta: Tensor<2>, pass: &Pass) -> DeltaInput {
        let DeltaHeads {
            key_heads,
            value_heads,
            key_dim,
            value_dim,
        } = self.heads;
        let (keys, values) = (key_heads * key_dim, value_heads * value_dim);
        let part = |start: usize, width: usize| mixed.clone().slice_dim(1, start..start + width);
        DeltaInput {
            query: unit(part(0, keys), key_dim) * (key_dim as f64).powf(-0.5),
            key: unit(part(keys, keys), key_dim),
            value: part(2 * keys, values),
            decay,
            beta,
            heads: self.heads,
            segments: pass.segments.clone(),
        }
    }
}

/// Every head divided by its length, `[tokens, heads * dim]`.
fn unit(x: Tensor<2>, dim: usize) -> Tensor<2> {
    let [tokens, width] = x.dims();
    let x = x.reshape([tokens, width / dim, dim]);
    let squares = x.clone().square().sum_dim(2); // [tokens, heads, 1]
    (x * (squares + EPSILON).sqrt().recip()).reshape([tokens, width])
}

/// `ln(1 + eˣ)`, without overflow.
fn softplus(x: Tensor<2>) -> Tensor<2> {
    let shift = x.clone().detach().clamp_min(0.0);
    shift.clone() + ((x - shift.clone()).exp() + (-shift).exp()).log()
}
