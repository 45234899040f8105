//! The keys of `adapter_config.json`: which are read, which have no effect on a saved adapter, and which must be off.

/// Keys of PEFT 0.21 with no effect on how a saved adapter is applied, each with the reason.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("auto_mapping", "names a class of transformers"),
    ("peft_version", "says what wrote the file"),
    (
        "inference_mode",
        "says whether PEFT trains; here the command does",
    ),
    ("runtime_config", "PEFT ignores it in a file"),
    ("megatron_config", "changes nothing without Megatron's layers"),
    ("megatron_core", "changes nothing without Megatron's layers"),
    (
        "qalora_group_size",
        "read with `use_qalora` only, which must be off",
    ),
    ("eva_config", INITIAL),
    ("corda_config", INITIAL),
    ("loftq_config", INITIAL),
    ("lora_ga_config", INITIAL),
];

const INITIAL: &str = "says how training began; what it would change is refused under `init_lora_weights`";

/// Keys that are read.
pub(super) const READ: &[&str] = &[
    "alpha_pattern",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// Initialisations, beside `true` and `false`, that leave the base weights unchanged.
pub(super) const PLAIN_STARTS: &[&str] = &["gaussian", "eva", "orthogonal", "mica"];
