//! Keys of `config.json` and `generation_config.json` that change nothing here, each with its reason.
//!
//! What transformers 5.23 reads of a `config.json` is read here, refused where it would change the computation, or in
//! [`WITHOUT_EFFECT`]. Any other key is one that transformers does not read either: it is kept and written back.

/// Keys of `config.json` that transformers 5.23 reads and that change nothing that is computed here, with the reason.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("_name_or_path", NAMES),
    ("name_or_path", NAMES),
    ("transformers_version", NAMES),
    ("auto_map", "code beside a model is never run"),
    (
        "dtype",
        "weights are held in f32; what is saved has the dtype of the recipe",
    ),
    (
        "torch_dtype",
        "weights are held in f32; what is saved has the dtype of the recipe",
    ),
    ("attn_implementation", IMPLEMENTATION),
    ("_attn_implementation", IMPLEMENTATION),
    ("experts_implementation", IMPLEMENTATION),
    (
        "chunk_size_feed_forward",
        "no supported family cuts its feed-forward block",
    ),
    ("pretraining_tp", "products are the same however they are cut"),
    (
        "gradient_checkpointing",
        "`model.recompute` of the recipe decides",
    ),
    ("use_cache", OUTPUTS),
    ("output_attentions", OUTPUTS),
    ("output_hidden_states", OUTPUTS),
    ("return_dict", OUTPUTS),
    ("id2label", CLASSIFIER),
    ("label2id", CLASSIFIER),
    ("num_labels", CLASSIFIER),
    ("problem_type", CLASSIFIER),
    ("classifier_dropout", CLASSIFIER),
    ("hidden_dropout", CLASSIFIER),
    ("bos_token_id", "the tokenizer puts it before a text"),
    ("pad_token_id", "rows are told from their padding by their length"),
    ("sep_token_id", "no supported family has one"),
];

/// Keys of `generation_config.json` that are read: the others say how transformers samples, where here the recipe or
/// the command line does. They are copied with the model.
pub const GENERATION_KEYS_READ: &[&str] = &["eos_token_id"];

/// Switches that would change the computation and are refused when they are on.
pub(super) const OFF: &[&str] = &[
    "use_bidirectional_attention",
    "is_encoder_decoder",
    "add_cross_attention",
];

/// Settings that would change the computation and are refused when they are there.
pub(super) const ABSENT: &[&str] = &[
    "quantization_config",
    "final_logit_softcapping",
    "per_layer_config",
    "attention_chunk_size",
];

const NAMES: &str = "says where the file comes from";
const IMPLEMENTATION: &str = "every implementation computes the same";
const OUTPUTS: &str = "says what a call returns";
const CLASSIFIER: &str = "belongs to classifiers";
