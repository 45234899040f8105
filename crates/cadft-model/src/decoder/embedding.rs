//! What the first block and, in Gemma 4, every block gets: embeddings of the tokens.
//!
//! ```text
//! x₀  = s · E[token]
//! i_l = (norm(W x₀ / √hidden)_l + √width · E_per_layer[token]_l) / √2          the part of block l, `width` numbers
//! ```

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor};

use super::linear::Bias;
use super::{Decoder, Linear, RmsNorm};
use crate::config::ModelConfig;
use crate::fused;
use crate::parameters::Parameters;

/// An embedding: rows of a matrix, selected by token id.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocab, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    pub(super) fn new(name: &str, shape: [usize; 2], make: &mut Parameters<'_>) -> Self {
        Self {
            weight: make.param(&format!("{name}.weight"), shape),
        }
    }

    /// The rows of the tokens, `[batch, seq, width]`.
    fn forward(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        let weight = self.weight.val();
        let ([batch, seq], [_, width]) = (token_ids.dims(), weight.dims());
        let rows = fused::select_rows(weight, token_ids.reshape([batch * seq]));
        rows.reshape([batch, seq, width])
    }
}

/// What the blocks start with.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// The input of the first block, `[batch, seq, hidden]`.
    pub(super) hidden: Tensor<3>,
    /// The inputs of all blocks, `[batch, seq, layers * width]`.
    pub(super) inputs: Option<Tensor<3>>,
}

/// The parts of the decoder for the inputs of the blocks, by their names there.
pub(super) struct InputParts {
    pub(super) embedding: Option<Embedding>,
    pub(super) projection: Option<Linear>,
    pub(super) norm: Option<RmsNorm>,
}

impl InputParts {
    pub(super) fn new(config: &ModelConfig, make: &mut Parameters<'_>) -> Self {
        let Some(inputs) = config.per_layer_inputs() else {
            return Self {
                embedding: None,
                projection: None,
                norm: None,
            };
        };
        let width = inputs.hidden_size_per_layer_input;
        let whole = config.num_hidden_layers * width;
        let shape = [inputs.vocab_size_per_layer_input, whole];
        Self {
            embedding: Some(Embedding::new("model.embed_tokens_per_layer", shape, make)),
            projection: Some(Linear::new(
                "model.per_layer_model_projection",
                [whole, config.hidden_size],
                Bias::Absent,
                make,
            )),
            norm: Some(RmsNorm::new(
                "model.per_layer_projection_norm",
                width,
                config,
                make,
            )),
        }
    }
}

impl Decoder {
    /// What the blocks start with.
    pub(super) fn start(&self, token_ids: Tensor<2, Int>) -> Start {
        let scaled = |x: Tensor<3>, scale: f64| if scale == 1.0 { x } else { x * scale };
        let rows = self.embed_tokens.forward(token_ids.clone());
        let hidden = scaled(rows.clone(), self.embedding_scale);
        let inputs = match (
            &self.embed_tokens_per_layer,
            &self.per_layer_model_projection,
            &self.per_layer_projection_norm,
        ) {
            (Some(embedding), Some(projection), Some(norm)) => {
                let ([batch, seq, size], [width]) = (hidden.dims(), norm.weight.dims());
                // A product of its own: the gradients of the embedding are then added in one order, also where blocks are
                // computed again.
                let own = scaled(rows, self.embedding_scale);
                let projected = projection.forward(own) * (size as f64).powf(-0.5);
                let [_, _, whole] = projected.dims();
                let parts = projected.reshape([batch, seq * whole / width, width]);
                let normed = norm.forward(parts).reshape([batch, seq, whole]);
                let embedded = embedding.forward(token_ids) * (width as f64).sqrt();
                Some((normed + embedded) * 0.5f64.sqrt())
            }
            _ => None,
        };
        Start { hidden, inputs }
    }

    /// Whether something that [`Decoder::start`] uses is trained.
    pub(super) fn trains_start(&self) -> bool {
        is_trained(&self.embed_tokens)
            || is_trained(&self.embed_tokens_per_layer)
            || is_trained(&self.per_layer_model_projection)
            || is_trained(&self.per_layer_projection_norm)
    }
}

/// Whether a parameter of the module is trained.
fn is_trained<M: Module>(module: &M) -> bool {
    struct Find(bool);
    impl ModuleVisitor for Find {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }
    }
    let mut find = Find(false);
    module.visit(&mut find);
    find.0
}
