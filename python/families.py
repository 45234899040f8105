"""Tiny random checkpoints of every family, and the results of transformers for them.

Each folder holds what `tiny_llama.py` writes, and `greedy [2, 12]`, the tokens that follow the first five of each row.
For each family one checkpoint is tied with its `config.json` as released ones have it, one is untied with the file that
transformers 5 writes; between them they use every option of the family and every scaling of rotary frequencies.
`tiny-qwen3-5-tower` and `tiny-gemma4-tower` are two of them beside a vision tower.
"""

import copy
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from double_precision import expert_by_expert, to_f64
from tiny_llama import by_weight_name, expected_values, forward_states, named_weights, randomise, ten_steps

SEED = 20260611
PROMPT, NEW_TOKENS = 5, 12
SOFT_CAPPED = "soft_capped"
COMMON = {
    "vocab_size": 41,
    "hidden_size": 18,
    "intermediate_size": 21,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "rope_theta": 100.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
CONFIGS: dict[str, dict] = {
    "tiny-llama-dynamic-rope": {
        "model_type": "llama",
        "max_position_embeddings": 8,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        **TIED,
    },
    "tiny-mistral-tied": {
        "model_type": "mistral",
        "sliding_window": 4,
        "rope_scaling": {"type": "linear", "factor": 2.0},
        **TIED,
    },
    "tiny-mistral-untied": {"model_type": "mistral", "head_dim": 6, "sliding_window": None, **UNTIED},
    "tiny-qwen2-tied": {"model_type": "qwen2", "rope_scaling": YARN, "use_sliding_window": False, **TIED},
    "tiny-qwen2-untied": {
        "model_type": "qwen2",
        "num_hidden_layers": 3,
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
        **UNTIED,
    },
    "tiny-qwen3-tied": {"model_type": "qwen3", "head_dim": 6, "attention_bias": False, **TIED},
    "tiny-qwen3-untied": {
        "model_type": "qwen3",
        "hidden_size": 20,
        "head_dim": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 3,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 1.2, "truncate": False},
        **UNTIED,
    },
    "tiny-smollm3-tied": {"model_type": "smollm3", "no_rope_layer_interval": 2, "use_sliding_window": False, **TIED},
    # Without `attention_bias`: without rotation, the gradient of a bias of the keys is only rounding.
    "tiny-smollm3-untied": {
        "model_type": "smollm3",
        "no_rope_layers": [0, 1],
        "use_sliding_window": True,
        "sliding_window": 4,
        "mlp_bias": True,
        **UNTIED,
    },
    "tiny-gemma3-tied": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 3,
        "head_dim": 6,
        "query_pre_attn_scalar": 10,
        "sliding_window": 4,
        "sliding_window_pattern": 3,
        "rope_local_base_freq": 20.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "hidden_activation": "gelu_pytorch_tanh",
        **TIED,
    },
    "tiny-gemma3-untied": {
        "model_type": "gemma3_text",
        "head_dim": 4,
        "query_pre_attn_scalar": 4,
        "sliding_window": 5,
        "layer_types": ["full_attention", "sliding_attention"],
        "attn_logit_softcapping": 1.5,
        **UNTIED,
    },
    "tiny-olmo2-tied": {"model_type": "olmo2", "rope_scaling": YARN, **TIED},
    "tiny-olmo2-untied": {
        "model_type": "olmo2",
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "attention_bias": True,
        "rms_norm_eps": 1e-5,
        **UNTIED,
    },
    "tiny-olmo3-tied": {
        "model_type": "olmo3",
        "num_hidden_layers": 5,
        "sliding_window": 4,
        "rope_scaling": {**YARN, "beta_slow": 1.0, "attention_factor": 1.3},
        **TIED,
    },
    "tiny-olmo3-untied": {
        "model_type": "olmo3",
        "sliding_window": 3,
        "layer_types": ["full_attention", "sliding_attention"],
        "attention_bias": True,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
        },
        "rope_theta": None,
        **UNTIED,
    },
    "tiny-phi3-tied": {
        "model_type": "phi3",
        "head_dim": 8,
        "hidden_size": 24,
        "partial_rotary_factor": 0.75,
        "max_position_embeddings": 32,
        "original_max_position_embeddings": 3,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [1.0, 3.0, 7.0]},
        **TIED,
    },
    "tiny-phi3-untied": {
        "model_type": "phi3",
        "num_key_value_heads": 3,
        "sliding_window": 4,
        "max_position_embeddings": 64,
        "original_max_position_embeddings": 64,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 50.0,
            "short_factor": [1.1, 1.5, 2.0],
            "long_factor": [1.0, 3.0, 7.0],
            "factor": 3.0,
        },
        "rope_theta": None,
        **UNTIED,
    },
    "tiny-glm4-tied": {"model_type": "glm4", "head_dim": 8, "attention_bias": False, **TIED},
    "tiny-glm4-untied": {
        "model_type": "glm4",
        "hidden_size": 20,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        # Of whole heads: without rotation, the gradient of a bias of the keys is only rounding.
        "partial_rotary_factor": 1.0,
        "rms_norm_eps": 1.5625e-07,
        **UNTIED,
    },
    "tiny-granite-tied": {
        "model_type": "granite",
        "embedding_multiplier": 5.0,
        "attention_multiplier": 0.3,
        "residual_multiplier": 0.4,
        "logits_scaling": 3.0,
        **TIED,
    },
    "tiny-granite-untied": {
        "model_type": "granite",
        "attention_bias": True,
        "mlp_bias": True,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.7,
        "logits_scaling": 0.5,
        **UNTIED,
    },
    "tiny-ministral3-tied": {
        "model_type": "ministral3",
        "head_dim": 8,
        "rope_parameters": YARN
        | {"rope_theta": 100.0, "llama_4_scaling_beta": 0.7, "original_max_position_embeddings": 4}
        | {"mscale": 1.0, "mscale_all_dim": 1.0},
        "rope_theta": None,
        **TIED,
    },
    "tiny-ministral3-untied": {
        "model_type": "ministral3",
        "head_dim": 6,
        "sliding_window": 5,
        "rope_scaling": YARN | {"llama_4_scaling_beta": 0.3, "original_max_position_embeddings": 3},
        **UNTIED,
    },
    "tiny-gemma2-tied": {
        "model_type": "gemma2",
        "num_hidden_layers": 3,
        "head_dim": 6,
        "query_pre_attn_scalar": 10,
        "sliding_window": 4,
        "attn_logit_softcapping": 1.5,
        "final_logit_softcapping": 2.5,
        "hidden_activation": "gelu_pytorch_tanh",
        **TIED,
    },
    "tiny-gemma2-untied": {
        "model_type": "gemma2",
        "head_dim": 4,
        "query_pre_attn_scalar": 4,
        "sliding_window": 5,
        "layer_types": ["full_attention", "sliding_attention"],
        "attn_logit_softcapping": None,
        "final_logit_softcapping": 4.0,
        "attention_bias": True,
        "rope_scaling": YARN,
        **UNTIED,
    },
    "tiny-granite4-tied": {
        "model_type": "granitemoehybrid",
        "num_local_experts": 0,
        "layer_types": ["attention", "attention"],
        "position_embedding_type": "rope",
        "shared_intermediate_size": 13,
        "embedding_multiplier": 5.0,
        "attention_multiplier": 0.3,
        "residual_multiplier": 0.4,
        "logits_scaling": 3.0,
        "mamba_n_heads": 4,
        "mamba_expand": 2,
        **TIED,
    },
    "tiny-granite4-untied": {
        "model_type": "granitemoehybrid",
        "num_local_experts": 0,
        "layer_types": ["full_attention", "full_attention"],
        "shared_intermediate_size": 17,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.6,
        "mamba_n_heads": 4,
        **UNTIED,
    },
    "tiny-qwen3-moe-tied": {
        "model_type": "qwen3_moe",
        "hidden_size": 20,
        "num_hidden_layers": 3,
        "head_dim": 6,
        "num_experts": 5,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 8,
        "norm_topk_prob": True,
        "mlp_only_layers": [1],
        **TIED,
    },
    # One expert for each token: some experts get none.
    "tiny-qwen3-moe-untied": {
        "model_type": "qwen3_moe",
        "hidden_size": 12,
        "head_dim": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 4,
        "num_experts": 12,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 4,
        "norm_topk_prob": False,
        "decoder_sparse_step": 2,
        "router_aux_loss_coef": 0.01,
        **UNTIED,
    },
    "tiny-olmoe-tied": {
        "model_type": "olmoe",
        "hidden_size": 24,
        "intermediate_size": 12,
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "norm_topk_prob": False,
        "clip_qkv": 1.1,
        **TIED,
    },
    "tiny-olmoe-untied": {
        "model_type": "olmoe",
        "hidden_size": 16,
        "intermediate_size": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_experts": 4,
        "num_experts_per_tok": 3,
        "norm_topk_prob": True,
        "attention_bias": True,
        "rope_scaling": YARN,
        **UNTIED,
    },
    # With a small ε, gradients of heads whose outputs are nearly 0 are only rounding.
    "tiny-qwen3-5-tied": {
        "model_type": "qwen3_5_text",
        "rms_norm_eps": 1e-2,
        "num_hidden_layers": 3,
        "head_dim": 8,
        "full_attention_interval": 2,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 6,
        "linear_value_head_dim": 5,
        **TIED,
    },
    "tiny-qwen3-5-untied": {
        "model_type": "qwen3_5_text",
        "rms_norm_eps": 1e-3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "attention_bias": True,
        "layer_types": ["full_attention", "linear_attention"],
        "linear_conv_kernel_dim": 3,
        "linear_num_key_heads": 3,
        "linear_num_value_heads": 3,
        "linear_key_head_dim": 4,
        "linear_value_head_dim": 7,
        # Of whole heads: without rotation, the gradient of a bias of the keys is only rounding.
        "rope_parameters": YARN
        | {"rope_theta": 100.0, "partial_rotary_factor": 1.0, "mrope_section": [3, 2, 1], "mrope_interleaved": True},
        "rope_theta": None,
        **UNTIED,
    },
    "tiny-gemma4-tied": {
        "model_type": "gemma4_text",
        "rms_norm_eps": 1e-1,
        "hidden_size": 12,
        "intermediate_size": 9,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "global_head_dim": 10,
        "sliding_window": 4,
        "layer_types": [
            "full_attention",
            "sliding_attention",
            "sliding_attention",
            "full_attention",
            "full_attention",
        ],
        "num_kv_shared_layers": 3,
        "use_double_wide_mlp": True,
        "final_logit_softcapping": 6.0,
        "hidden_size_per_layer_input": 3,
        "vocab_size_per_layer_input": 43,
        "use_bidirectional_attention": "vision",
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 100.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
        },
        "rope_theta": None,
        **TIED,
    },
    "tiny-gemma4-untied": {
        "model_type": "gemma4_text",
        "rms_norm_eps": 1e-2,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "global_head_dim": 8,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "attention_bias": True,
        "sliding_window": 5,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "hidden_size_per_layer_input": 0,
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.75, "factor": 2.0}
            | {"rope_theta": 100.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
        },
        "rope_theta": None,
        **UNTIED,
    },
}


WITH_EXPERTS = ("qwen3_moe", "olmoe")
# Answers end at the original length of LongRoPE, which is shorter than the prompts here.
WITHOUT_GREEDY = {"tiny-phi3-tied"}


def soft_capped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_
) -> tuple[Tensor, Tensor]:
    """Attention with the soft-cap of the configuration, which the attention of Gemma 3 in transformers leaves out."""
    cap = module.config.attn_logit_softcapping
    key, value = (x.repeat_interleave(module.num_key_value_groups, 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    weights = torch.softmax(cap * torch.tanh(scores / cap) + attention_mask, -1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def greedy(model: PreTrainedModel, prompts: Tensor) -> Tensor | None:
    """The tokens that `generate` appends; `None` if a choice may depend on rounding."""
    model.generation_config.eos_token_id = None
    out = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    top = torch.stack(out.logits, 1).topk(2).values
    if (top[..., 0] - top[..., 1]).min().item() < 1e-3:
        return None
    return out.sequences[:, prompts.shape[1] :]


def build(keys: dict) -> PreTrainedModel:
    """The model of a configuration, before its weights are drawn."""
    keys = copy.deepcopy(keys)
    config = AutoConfig.for_model(keys.pop("model_type"), **keys)
    attention = SOFT_CAPPED if getattr(config, "attn_logit_softcapping", None) else "sdpa"
    if config.model_type == "gemma2":
        attention = "eager"
    return expert_by_expert(AutoModelForCausalLM.from_config(config, attn_implementation=attention))


def write_checkpoint(keys: dict, seed: int, out: Path) -> PreTrainedModel:
    """A model with random weights, and its folder."""
    model = build(keys)
    randomise(model, seed)
    if keys["model_type"] in ("gemma2", "gemma3_text", "qwen3_5_text"):
        with torch.no_grad():
            for weight in (p for n, p in model.named_parameters() if "norm" in n and "linear_attn" not in n):
                weight -= 1.0
    if keys["model_type"] == "gemma4_text":
        for index, layer in enumerate(model.model.layers):
            layer.layer_scalar.fill_(0.8 + 0.15 * index)
    out.mkdir(parents=True, exist_ok=True)
    tied = keys["tie_word_embeddings"]
    stored = by_weight_name(model.state_dict())
    weights = {k: v.detach().clone() for k, v in stored.items() if not (tied and k == "lm_head.weight")}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    written = {"architectures": [type(model).__name__], **keys, "torch_dtype": "float32"}
    if not tied:
        model.config.architectures = written["architectures"]
        written = model.config.to_diff_dict()
    (out / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return model


def written_by_transformers(model: PreTrainedModel) -> bytes:
    """The weights as `save_pretrained` writes them, which takes the experts of a block apart."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return (Path(folder) / "model.safetensors").read_bytes()


def rounding_of_training(model: PreTrainedModel, ids: Tensor, expected: dict[str, Tensor]) -> float:
    """The largest error, relative to a parameter's largest element, of ten steps in f32 by PyTorch itself.

    Adam divides by the size of a gradient: where that is rounding, so is the step.
    """
    ten_steps(model, ids)
    trained = ((p, expected[f"trained.{k}"]) for k, p in named_weights(model).items())
    return max(((p - e).abs().max() / e.abs().max()).item() for p, e in trained)


def generate_one(name: str, keys: dict, seed: int, out: Path) -> None:
    """One checkpoint folder, of the first seed whose training f32 resolves, and whose greedy choices."""
    keys = COMMON | keys
    if keys["rope_theta"] is None:  # the base is in `rope_parameters`
        del keys["rope_theta"]
    ids = torch.randint(keys["vocab_size"], (2, 11), generator=torch.Generator().manual_seed(seed + 1))
    for attempt in range(20):
        model = write_checkpoint(keys, seed + 1000 * attempt, out)

        def read(attention: str = model.config._attn_implementation) -> PreTrainedModel:
            return expert_by_expert(AutoModelForCausalLM.from_pretrained(out, attn_implementation=attention))

        stored = (out / "model.safetensors").read_bytes()
        if keys["model_type"] in WITH_EXPERTS and written_by_transformers(model) != stored:
            raise ValueError(f"`{name}`: transformers writes other weights")
        if not torch.equal(forward_states(read(), ids)["logits"], forward_states(model, ids)["logits"]):
            raise ValueError(f"`{name}`: the written configuration reads back as another model")
        expected = expected_values(model, ids)
        follow = greedy(to_f64(read()), ids[:, :PROMPT])
        if follow is not None and rounding_of_training(read(), ids, expected) < 4e-6:
            if name not in WITHOUT_GREEDY:
                expected["greedy"] = follow.contiguous()
            save_file(expected, out / "expected.safetensors")
            return
    raise ValueError(f"`{name}`: no seed whose training and greedy choices f32 resolves")


QWEN_VISION = {"depth": 1, "hidden_size": 8, "intermediate_size": 12, "num_heads": 2, "patch_size": 2}
GEMMA_VISION = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2}
GEMMA_VISION |= {"num_key_value_heads": 2, "head_dim": 4, "global_head_dim": 4, "position_embedding_size": 16}


def write_with_tower(text: Path, model_type: str, seed: int, out: Path) -> None:
    """The language model of a folder beside a vision tower, as transformers writes both."""
    model = AutoModelForCausalLM.from_pretrained(text)
    if model_type == "qwen3_5":
        vision = QWEN_VISION | {"num_position_embeddings": 4, "out_hidden_size": model.config.hidden_size}
        others = {}
    else:
        vision, others = GEMMA_VISION, {"audio_config": None}
    keys = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    config = AutoConfig.for_model(model_type, text_config=keys, vision_config=vision, **others, **TIED)
    both = AutoModelForImageTextToText.from_config(config)
    randomise(both, seed)
    both.model.language_model.load_state_dict(model.model.state_dict())
    both.config.text_config.pad_token_id = 0  # Gemma 4 puts it where images are
    with torch.no_grad():
        ids = torch.arange(11)[None]
        if not torch.equal(both(input_ids=ids).logits, model(input_ids=ids).logits):
            raise ValueError(f"`{out.name}`: the language model is another one beside the tower")
    both.config.text_config.pad_token_id = None
    both.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)


def generate(out: Path) -> None:
    """Write every checkpoint folder under `out`."""
    ALL_ATTENTION_FUNCTIONS.register(SOFT_CAPPED, soft_capped_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(SOFT_CAPPED, eager_mask)
    for i, (name, keys) in enumerate(CONFIGS.items()):
        generate_one(name, keys, SEED + 10 * i, out / name)
    for family, model_type in (("qwen3-5", "qwen3_5"), ("gemma4", "gemma4")):
        write_with_tower(out / f"tiny-{family}-tied", model_type, SEED, out / f"tiny-{family}-tower")
