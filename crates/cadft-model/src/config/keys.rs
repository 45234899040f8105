//! Keys of `config.json` and `generation_config.json` without effect here, each with the reason.
//!
//! Every key that transformers 5.23 reads from a `config.json` is either read here, or refused because it would change
//! the computation, or listed in [`WITHOUT_EFFECT`]. transformers does not read any other key either: it is kept and
//! written back.

/// Keys of `config.json` that transformers 5.23 reads and that have no effect on the computation here, each with the
/// reason.
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
    ("mamba_n_heads", NO_MAMBA),
    ("mamba_n_groups", NO_MAMBA),
    ("mamba_d_state", NO_MAMBA),
    ("mamba_d_head", NO_MAMBA),
    ("mamba_d_conv", NO_MAMBA),
    ("mamba_expand", NO_MAMBA),
    ("mamba_chunk_size", NO_MAMBA),
    ("mamba_conv_bias", NO_MAMBA),
    ("mamba_proj_bias", NO_MAMBA),
    ("time_step_limit", NO_MAMBA),
    ("num_experts_per_tok", NO_EXPERTS),
    ("output_router_logits", NO_EXPERTS),
    (
        "router_aux_loss_coef",
        "multiplies a loss that is refused where it is on",
    ),
    ("bos_token_id", TOKENIZER),
    ("pad_token_id", PADDING),
    ("sep_token_id", "no supported family has one"),
];

/// Keys of `generation_config.json` that are read.
pub const GENERATION_KEYS_READ: &[&str] = &["eos_token_id"];

/// Keys of `generation_config.json` that transformers 5.23 reads and that have no effect here, each with the reason.
/// They are copied with the model.
pub const GENERATION_WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("do_sample", SAMPLING),
    ("temperature", SAMPLING),
    ("top_k", SAMPLING),
    ("top_p", SAMPLING),
    ("min_p", SAMPLING),
    ("top_h", SAMPLING),
    ("typical_p", SAMPLING),
    ("epsilon_cutoff", SAMPLING),
    ("eta_cutoff", SAMPLING),
    ("penalty_alpha", SAMPLING),
    ("dola_layers", SAMPLING),
    ("repetition_penalty", SAMPLING),
    ("encoder_repetition_penalty", SAMPLING),
    ("no_repeat_ngram_size", SAMPLING),
    ("encoder_no_repeat_ngram_size", SAMPLING),
    ("bad_words_ids", SAMPLING),
    ("sequence_bias", SAMPLING),
    ("suppress_tokens", SAMPLING),
    ("begin_suppress_tokens", SAMPLING),
    ("guidance_scale", SAMPLING),
    ("exponential_decay_length_penalty", SAMPLING),
    ("remove_invalid_values", SAMPLING),
    ("renormalize_logits", SAMPLING),
    ("watermarking_config", SAMPLING),
    ("token_healing", SAMPLING),
    ("max_length", LENGTH),
    ("max_new_tokens", LENGTH),
    ("max_time", LENGTH),
    ("min_length", LENGTH),
    ("min_new_tokens", LENGTH),
    ("forced_eos_token_id", LENGTH),
    ("stop_strings", ENDS),
    ("num_beams", BEAMS),
    ("num_beam_groups", BEAMS),
    ("diversity_penalty", BEAMS),
    ("length_penalty", BEAMS),
    ("early_stopping", BEAMS),
    ("constraints", BEAMS),
    ("force_words_ids", BEAMS),
    ("num_return_sequences", BEAMS),
    ("low_memory", BEAMS),
    ("is_assistant", DRAFTS),
    ("num_assistant_tokens", DRAFTS),
    ("num_assistant_tokens_schedule", DRAFTS),
    ("assistant_confidence_threshold", DRAFTS),
    ("assistant_early_exit", DRAFTS),
    ("assistant_ensemble_weight", DRAFTS),
    ("assistant_lookbehind", DRAFTS),
    ("target_lookbehind", DRAFTS),
    ("prompt_lookup_num_tokens", DRAFTS),
    ("max_matching_ngram_size", DRAFTS),
    ("speculation_type", DRAFTS),
    ("use_mtp", DRAFTS),
    ("use_cache", CACHE),
    ("cache_implementation", CACHE),
    ("cache_config", CACHE),
    ("max_cache_len", CACHE),
    ("prefill_chunk_size", CACHE),
    ("compile_config", CACHE),
    ("disable_compile", CACHE),
    ("continuous_batching_config", CACHE),
    ("output_attentions", OUTPUTS),
    ("output_hidden_states", OUTPUTS),
    ("output_logits", OUTPUTS),
    ("output_scores", OUTPUTS),
    ("return_dict_in_generate", OUTPUTS),
    ("_from_model_config", NAMES),
    ("transformers_version", NAMES),
    ("bos_token_id", TOKENIZER),
    ("pad_token_id", PADDING),
    ("decoder_start_token_id", ENCODER),
    ("forced_bos_token_id", ENCODER),
];

/// Switches that would change the computation; they are refused if they are on.
pub(super) const OFF: &[&str] = &[
    "use_bidirectional_attention",
    "is_encoder_decoder",
    "add_cross_attention",
];

/// Settings that would change the computation; they are refused if they are present.
pub(super) const ABSENT: &[&str] = &["quantization_config", "per_layer_config", "attention_chunk_size"];

const NAMES: &str = "says where the file comes from";
const IMPLEMENTATION: &str = "every implementation computes the same";
const OUTPUTS: &str = "says what a call returns";
const CLASSIFIER: &str = "belongs to classifiers";
const SAMPLING: &str = "the recipe or the command line says how tokens are chosen";
const LENGTH: &str = "the recipe or the command line says how long an answer may be";
const ENDS: &str = "an answer ends at a token";
const BEAMS: &str = "there is no beam search";
const DRAFTS: &str = "no other model drafts an answer";
const CACHE: &str = "it says how the answer is computed, not what it is";
const NO_MAMBA: &str = "a model with layers that are not attention is refused";
const NO_EXPERTS: &str = "read in families with experts only";
const TOKENIZER: &str = "the tokenizer puts it before a text";
const PADDING: &str = "rows are told from their padding by their length";
const ENCODER: &str = "it belongs to models with an encoder";
