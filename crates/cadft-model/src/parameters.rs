//! The parameters of a model: Hugging Face names, stable ids, shapes, and which ones have weight decay.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use cadft_kernels::PackedFormat;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::adapter::FrozenBase;
use crate::config::{Fused, KeySource, LinearAttention, ModelConfig};

mod named;
pub use named::{NamedTensor, copied};

/// One parameter of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedParameter {
    /// The Hugging Face name of the weight, such as `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// The id for gradients and optimizer state; it depends on the name alone.
    pub id: ParamId,
    /// The shape, in the Hugging Face layout.
    pub shape: Vec<usize>,
}

/// The parameters of a module, in module order.
#[must_use]
pub fn named_parameters<M: Module>(module: &M) -> Vec<NamedParameter> {
    let mut parameters = Vec::new();
    visit_tensors(module, &mut |name, id, tensor| {
        parameters.push(NamedParameter {
            name: name.to_owned(),
            id,
            shape: tensor.shape(),
        });
    });
    parameters
}

/// Whether weight decay applies to the parameter. It does not apply to norm weights, biases, the decay of linear attention,
/// and the magnitudes of an adapter, which start as the norms of the rows that they scale.
///
/// # Examples
///
/// ```
/// use cadft_model::parameters::decays;
/// assert!(decays("model.layers.0.mlp.up_proj.weight"));
/// assert!(!decays("model.layers.0.input_layernorm.weight"));
/// assert!(!decays("model.layers.0.self_attn.q_proj.bias"));
/// ```
#[must_use]
pub fn decays(name: &str) -> bool {
    ![
        ".bias",
        "norm.weight",
        ".lora_magnitude_vector",
        ".A_log",
        ".dt_bias",
        ".layer_scalar",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

/// The names and shapes of the tensors in a checkpoint of `config`, in module order.
#[must_use]
pub fn expected_parameters(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let &ModelConfig {
        hidden_size: hidden,
        vocab_size: vocab,
        ..
    } = config;
    let mut parameters = vec![("model.embed_tokens.weight".to_owned(), vec![vocab, hidden])];
    let inputs = config.per_layer_inputs();
    if let Some(inputs) = inputs {
        let width = inputs.hidden_size_per_layer_input;
        let whole = config.num_hidden_layers * width;
        let rows = inputs.vocab_size_per_layer_input;
        parameters.extend([
            (
                "model.embed_tokens_per_layer.weight".to_owned(),
                vec![rows, whole],
            ),
            (
                "model.per_layer_model_projection.weight".to_owned(),
                vec![whole, hidden],
            ),
            ("model.per_layer_projection_norm.weight".to_owned(), vec![width]),
        ]);
    }
    for layer in 0..config.num_hidden_layers {
        let prefix = format!("model.layers.{layer}");
        let norm = |name: &&str| (format!("{prefix}.{name}.weight"), vec![hidden]);
        let (first, others): (Vec<&str>, Vec<&str>) = config
            .norms
            .names()
            .iter()
            .partition(|name| **name == "input_layernorm");
        parameters.extend(first.iter().map(norm));
        let recurrent = config.linear_attention.as_ref();
        match recurrent.filter(|attention| attention.linear[layer]) {
            Some(attention) => parameters.extend(linear_attention(attention, hidden, &prefix)),
            None => parameters.extend(full_attention(config, layer, &prefix)),
        }
        parameters.extend(others.iter().map(norm));
        for (name, shape, bias) in feed_forward(config, layer) {
            let [output, input] = shape;
            parameters.extend(linear(&format!("{prefix}.{name}"), output, input, bias));
        }
        if let Some(inputs) = inputs {
            let width = inputs.hidden_size_per_layer_input;
            parameters.extend(linear(
                &format!("{prefix}.per_layer_input_gate"),
                width,
                hidden,
                false,
            ));
            parameters.extend(linear(
                &format!("{prefix}.per_layer_projection"),
                hidden,
                width,
                false,
            ));
            parameters.push(norm(&"post_per_layer_input_norm"));
        }
        if config.by_block.is_some() {
            parameters.push((format!("{prefix}.layer_scalar"), vec![1]));
        }
    }
    parameters.push(("model.norm.weight".to_owned(), vec![hidden]));
    if !config.tie_word_embeddings {
        parameters.extend(linear("lm_head", vocab, hidden, false));
    }
    parameters
}

/// The weight of a linear layer, and its bias if it has one.
fn linear(name: &str, output: usize, input: usize, bias: bool) -> impl Iterator<Item = (String, Vec<usize>)> {
    let bias = bias.then(|| (format!("{name}.bias"), vec![output]));
    std::iter::once((format!("{name}.weight"), vec![output, input])).chain(bias)
}

/// The tensors of full attention in block `index`, whose name is `prefix`.
fn full_attention(config: &ModelConfig, index: usize, prefix: &str) -> Vec<(String, Vec<usize>)> {
    let layer = config.layers[index];
    let (query, key) = (config.num_attention_heads * layer.head_dim, layer.key_width());
    let with_gate = if config.attention_gate { 2 * query } else { query };
    let inputs: &[(&str, usize)] = if config.fused.qkv() {
        &[("qkv_proj", query + 2 * key)]
    } else {
        match layer.keys {
            KeySource::Own => &[("q_proj", with_gate), ("k_proj", key), ("v_proj", key)],
            KeySource::OneProjection => &[("q_proj", with_gate), ("k_proj", key)],
            KeySource::Block(_) => &[("q_proj", with_gate)],
        }
    };
    let hidden = config.hidden_size;
    let inputs = (inputs.iter()).map(|&(name, output)| (name, output, hidden, config.attention_bias));
    let mut parameters = vec![];
    for (name, output, input, bias) in inputs.chain([("o_proj", hidden, query, config.attention_output_bias)])
    {
        parameters.extend(linear(&format!("{prefix}.self_attn.{name}"), output, input, bias));
    }
    let norms = [("q_norm", query), ("k_norm", key)];
    let own = if layer.key_source().is_some() { 1 } else { 2 };
    for (name, width) in norms.into_iter().take(own) {
        let size = config.qk_norm.size(layer.head_dim, width);
        parameters.extend(size.map(|size| (format!("{prefix}.self_attn.{name}.weight"), vec![size])));
    }
    parameters
}

/// The tensors of linear attention in the block `prefix`.
fn linear_attention(attention: &LinearAttention, hidden: usize, prefix: &str) -> Vec<(String, Vec<usize>)> {
    let (heads, values) = (attention.linear_num_value_heads, attention.value_width());
    let tensors = [
        ("in_proj_qkv.weight", vec![attention.channels(), hidden]),
        ("in_proj_z.weight", vec![values, hidden]),
        ("in_proj_b.weight", vec![heads, hidden]),
        ("in_proj_a.weight", vec![heads, hidden]),
        (
            "conv1d.weight",
            vec![attention.channels(), 1, attention.linear_conv_kernel_dim],
        ),
        ("A_log", vec![heads]),
        ("dt_bias", vec![heads]),
        ("norm.weight", vec![attention.linear_value_head_dim]),
        ("out_proj.weight", vec![hidden, values]),
    ];
    (tensors.into_iter())
        .map(|(name, shape)| (format!("{prefix}.linear_attn.{name}"), shape))
        .collect()
}

/// The linear layers of the feed-forward block of block `index`: names, shapes `[output, input]`, and whether they have
/// biases, in module order.
fn feed_forward(config: &ModelConfig, index: usize) -> Vec<(String, [usize; 2], bool)> {
    let hidden = config.hidden_size;
    let gated_unit = |prefix: &str, width: usize, bias: bool| {
        let (inputs, output): (&[(&str, usize)], &str) = match config.fused {
            Fused::Nothing => (&[("gate_proj", 1), ("up_proj", 1)], "down_proj"),
            Fused::GateUp | Fused::All => (&[("gate_up_proj", 2)], "down_proj"),
            Fused::SharedMlp => (&[("input_linear", 2)], "output_linear"),
        };
        let mut layers: Vec<_> = (inputs.iter())
            .map(|(name, parts)| (format!("{prefix}.{name}"), [parts * width, hidden], bias))
            .collect();
        layers.push((format!("{prefix}.{output}"), [hidden, width], bias));
        layers
    };
    match &config.experts {
        Some(experts) if experts.sparse[index] => {
            let router = ("mlp.gate".to_owned(), [experts.num_experts, hidden], false);
            let experts = (0..experts.num_experts).flat_map(|expert| {
                gated_unit(
                    &format!("mlp.experts.{expert}"),
                    experts.moe_intermediate_size,
                    false,
                )
            });
            std::iter::once(router).chain(experts).collect()
        }
        _ => {
            let name = if config.fused.is_shared_mlp() {
                "shared_mlp"
            } else {
                "mlp"
            };
            gated_unit(name, config.intermediate_size_of(index), config.mlp_bias)
        }
    }
}

/// Whether a module is an embedding, whose matrix is looked up and not multiplied.
pub(crate) fn is_embedding(module: &str) -> bool {
    ["model.embed_tokens", "model.embed_tokens_per_layer"].contains(&module)
}

/// Whether a module may have parameters of its own beside modules with parameters: linear attention, and a block of a Gemma 4.
pub(crate) fn is_mixed(module: &str) -> bool {
    let block = module.strip_prefix("model.layers.");
    module.ends_with(".linear_attn") || block.is_some_and(|rest| !rest.contains('.'))
}

/// Whether a module belongs to the experts of a sparse block.
pub(crate) fn is_of_experts(module: &str) -> bool {
    module.contains(".mlp.experts.")
}

/// A parameter's tensor; shares the parameter's storage.
#[derive(Clone, Debug)]
pub(crate) enum ParameterTensor {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
    /// The weight of a convolution, `[channels, 1, kernel]`.
    Convolution(Tensor<3>),
}

impl ParameterTensor {
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(tensor) => tensor.dims().to_vec(),
            Self::Matrix(tensor) => tensor.dims().to_vec(),
            Self::Convolution(tensor) => tensor.dims().to_vec(),
        }
    }

    pub(crate) fn to_data(&self) -> TensorData {
        match self {
            Self::Vector(tensor) => tensor.to_data(),
            Self::Matrix(tensor) => tensor.to_data(),
            Self::Convolution(tensor) => tensor.to_data(),
        }
    }
}

/// Calls `each` with the name, id and tensor of every parameter, in module order.
pub(crate) fn visit_tensors<M: Module>(module: &M, each: &mut dyn FnMut(&str, ParamId, ParameterTensor)) {
    module.visit(&mut Walk {
        path: Vec::new(),
        each,
    });
}

struct Walk<'a> {
    path: Vec<String>,
    each: &'a mut dyn FnMut(&str, ParamId, ParameterTensor),
}

impl ModuleVisitor for Walk<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let dims = value.dims();
        let tensor = match dims[..] {
            [channels, inputs, kernel] => {
                ParameterTensor::Convolution(value.reshape([channels, inputs, kernel]))
            }
            [rows, columns] => ParameterTensor::Matrix(value.reshape([rows, columns])),
            _ => ParameterTensor::Vector(value.reshape([dims.iter().product::<usize>()])),
        };
        (self.each)(&weight_name(&self.path), param.id, tensor);
    }
}

/// The weight name for a path of module fields: Hugging Face's name in the model, PEFT's in adapters.
pub(crate) fn weight_name(path: &[String]) -> String {
    match path {
        [layer @ .., adapter, field] if adapter == "adapter" => {
            let layer = layer.join(".");
            match field.as_str() {
                "lora_a" => format!("{layer}.lora_A.weight"),
                "lora_b" => format!("{layer}.lora_B.weight"),
                other => format!("{layer}.{other}"),
            }
        }
        path => path.join("."),
    }
}

/// A source of initial values: called with the name and the shape of a parameter.
pub(crate) type Values<'a> = dyn FnMut(&str, &[usize]) -> Vec<f32> + 'a;

/// Creates the parameters of a model on a device.
pub(crate) struct Parameters<'a> {
    pub(crate) device: &'a Device,
    /// How the linear weights of the blocks are packed, if they are.
    pub(crate) base: Option<&'a FrozenBase>,
    pub(crate) values: &'a mut Values<'a>,
}

impl Parameters<'_> {
    /// The trainable parameter `name`. Its id is computed from the name, so it is the same in every process.
    pub(crate) fn param<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Param<Tensor<D>> {
        let values = (self.values)(name, &shape);
        let mut param = Param::<Tensor<D>>::from_data(TensorData::new(values, shape), self.device);
        param.id = ParamId::from(name_hash(name));
        param
    }

    /// As [`Parameters::param`], but not trained.
    pub(crate) fn constant<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Param<Tensor<D>> {
        self.param(name, shape).set_require_grad(false)
    }

    /// The format in which the weight of a linear layer is packed, if it is.
    pub(crate) fn packed(&self, layer: &str) -> Option<PackedFormat> {
        self.base.and_then(|base| base.packs(layer))
    }
}

/// Random initial values: normal for matrices, factor 1 for norm weights, 0 for biases; for linear attention those of transformers,
/// but normal for the convolution.
///
/// Each parameter has a separate random stream. Its values depend on the seed and its name, not on other parameters or
/// the backend.
pub(crate) fn random_values(name: &str, shape: &[usize], config: &ModelConfig, seed: u64) -> Vec<f32> {
    let count = shape.iter().product();
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(name_hash(name));
    if name.ends_with(".A_log") {
        return (0..count)
            .map(|_| generator.random_range(0.01f32..16.0).ln())
            .collect();
    }
    if !decays(name) {
        let is_norm_from_one = config.norms.offset() != 0.0
            && name.ends_with("norm.weight")
            && !name.ends_with(".linear_attn.norm.weight");
        let starts_at_zero = name.ends_with(".bias") || is_norm_from_one;
        return vec![if starts_at_zero { 0.0 } else { 1.0 }; count];
    }
    match Normal::new(0.0, config.initializer_range as f32) {
        Ok(normal) => normal.sample_iter(generator).take(count).collect(),
        Err(_) => vec![0.0; count],
    }
}

/// The FNV-1a hash of the name: short, and equal on every platform and in every version.
pub(crate) fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
