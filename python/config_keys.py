"""The results of transformers for single changes of `config.json`: `config-keys.json`.

For each family, keys of the committed tiny checkpoint's configuration are changed, removed or added, and the logits
of a few tokens are noted, or that transformers refuses the file. `fields` holds the names that transformers'
configuration class of the family reads.
"""

import dataclasses
import json
import tempfile
from pathlib import Path
from shutil import copytree

import torch
from transformers import AutoConfig, AutoModelForCausalLM

SEED = 20251129
FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
MODELS = (
    "tiny-llama-tied",
    "tiny-mistral-untied",
    "tiny-qwen2-untied",
    "tiny-qwen3-untied",
    "tiny-smollm3-untied",
    # The untied one has a soft-cap of attention scores, which transformers 5.23 ignores.
    "tiny-gemma3-tied",
    "tiny-olmo2-tied",
    "tiny-olmo3-untied",
    "tiny-phi3-untied",
    "tiny-glm4-untied",
    "tiny-granite-tied",
    "tiny-ministral3-untied",
    "tiny-gemma2-tied",
    "tiny-granite4-tied",
    "tiny-qwen3-moe-untied",
    "tiny-olmoe-tied",
    "tiny-qwen3-5-tied",
    "tiny-gemma4-tied",
    "tiny-gemma4-untied",
)
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4, "beta_fast": 4.0}
LONG = {"rope_type": "longrope", "short_factor": [1.5, 2.0, 2.5], "long_factor": [2.0, 3.0, 4.0]}
# Applied to every family: a key that a family does not read must change nothing.
CHANGES: dict[str, list] = {
    "attention_bias": [True, False],
    "attention_k_eq_v": [True, False],
    "attention_dropout": [0.0],
    "attn_logit_softcapping": [None],
    "bos_token_id": [3, [0, 1], None],
    "chunk_size_feed_forward": [2],
    "clip_qkv": [0.5, None],
    "decoder_sparse_step": [1, 3],
    "dtype": ["float32"],
    "embd_pdrop": [0.0, 0.5],
    "enable_moe_block": [True, False],
    "eos_token_id": [3, [0, 1], None],
    "final_logit_softcapping": [2.0, None],
    "full_attention_interval": [3],
    "global_head_dim": [6, None],
    "head_dim": [None, 12],
    "hidden_act": ["gelu_pytorch_tanh", "swish", "silu", "relu"],
    "hidden_activation": ["gelu_pytorch_tanh", "silu"],
    "hidden_size_per_layer_input": [0, 3],
    "id2label": [{"0": "a"}],
    "initializer_range": [0.5],
    "is_causal": [False, True],
    "layer_types": [None, ["full_attention", "full_attention"], ["sliding_attention", "full_attention"]],
    "linear_conv_kernel_dim": [2],
    "linear_key_head_dim": [3],
    "linear_num_key_heads": [1, 4],
    "linear_num_value_heads": [2],
    "linear_value_head_dim": [10],
    "max_position_embeddings": [8, 128],
    "max_window_layers": [0, 1],
    "mlp_bias": [True, False],
    "mlp_only_layers": [[0], [1], None],
    "moe_intermediate_size": [8],
    "no_rope_layer_interval": [2, 3],
    "norm_topk_prob": [True, False],
    "num_experts": [0, 8],
    "num_experts_per_tok": [2, 100],
    "no_rope_layers": [[1, 0], None],
    "num_global_key_value_heads": [1, 2, None],
    "num_hidden_layers": [1],
    "num_kv_shared_layers": [0, 1, 2],
    "num_local_experts": [0, 2],
    "num_key_value_heads": [1, None],
    "original_max_position_embeddings": [4, 100],
    "output_hidden_states": [True],
    "output_router_logits": [True, False],
    "pad_token_id": [0, 1000, None],
    "partial_rotary_factor": [1.0, 0.5],
    "per_layer_config": [{"0": {"sliding_window": 2}}, {"0": {"head_dim": 6}}],
    "position_embedding_type": ["rope", None],
    "pretraining_tp": [2],
    "problem_type": ["regression"],
    "query_pre_attn_scalar": [9],
    "resid_pdrop": [0.0, 0.5],
    "return_dict": [True],
    "rms_norm_eps": [0.1, 0.0],
    "rope_local_base_freq": [50.0],
    "rope_parameters": [
        None,
        {"rope_type": "default", "rope_theta": 500.0},
        LINEAR | {"rope_theta": 500.0},
        {"full_attention": LINEAR, "sliding_attention": {"rope_type": "default"}},
        {"full_attention": {"rope_type": "default", "rope_theta": 500.0}},
        {"full_attention": None, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}},
        YARN | {"rope_theta": 500.0},
        YARN | {"llama_4_scaling_beta": 0.5},
        LINEAR | {"llama_4_scaling_beta": 0.5},
        LINEAR | {"partial_rotary_factor": 0.5},
        {"full_attention": {"rope_type": "proportional", "rope_theta": 50.0}, "sliding_attention": LINEAR},
        {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.2, "rope_theta": 50.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
        },
        LONG,
        LONG | {"attention_factor": 1.5, "original_max_position_embeddings": 4},
    ],
    "rope_scaling": [
        None,
        {},
        LINEAR,
        {"type": "linear", "factor": 4.0},
        {"type": "yarn", "rope_type": "linear", "factor": 4.0},
    ],
    "rope_theta": [500.0, 1000000],
    "shared_intermediate_size": [64],
    "router_aux_loss_coef": [0.5],
    "sliding_window": [None, 3],
    "sliding_window_pattern": [1, 2],
    "_sliding_window_pattern": [1, 2],
    "tie_word_embeddings": [True],
    "top_k_experts": [2],
    "use_bidirectional_attention": [False, None, "vision", "all"],
    "use_cache": [False],
    "use_double_wide_mlp": [True, False],
    "use_sliding_window": [True, False],
    "vocab_size_per_layer_input": [50],
    "is_encoder_decoder": [False],
    "attn_implementation": ["eager"],
    "embedding_multiplier": [3.0],
    "logits_scaling": [3.0],
    "residual_multiplier": [3.0],
    "attention_multiplier": [3.0],
    "some_key": [{"a": 1}],
}


def verdict(folder: Path, ids: torch.Tensor) -> dict:
    """The logits at a few places of a row of 11 tokens, or an error."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        with torch.no_grad():
            logits = model.eval()(input_ids=ids, use_cache=False, return_dict=True).logits[0]
    except Exception as error:  # any exception of transformers is a refusal
        return {"error": type(error).__name__}
    return {"logits": [round(float(value), 6) for value in torch.cat([logits[-1, :8], logits[4, :4]])]}


def fields(folder: Path) -> list[str]:
    """The keys that the configuration class reads."""
    config = AutoConfig.from_pretrained(folder)
    return sorted(field.name for field in dataclasses.fields(config))


def rows(name: str, work: Path) -> dict:
    """All changes of one model."""
    source = FIXTURES / name
    original = json.loads((source / "config.json").read_text(encoding="utf-8"))
    ids = torch.randint(original["vocab_size"], (1, 11), generator=torch.Generator().manual_seed(SEED))
    changes = [(key, value) for key, values in CHANGES.items() for value in values]
    changes += [(key, "absent") for key in original if key not in ("model_type", "architectures")]
    result = []
    for index, (key, value) in enumerate([(None, None), *changes]):
        folder = work / f"{name}-{index}"
        copytree(source, folder)
        config = dict(original)
        if value == "absent":
            del config[key]
        elif key is not None:
            config[key] = value
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        torch.manual_seed(SEED)
        result.append({"key": key, "value": value, **verdict(folder, ids)})
    return {"model": name, "input_ids": ids.tolist(), "fields": fields(source), "rows": result}


def generate(out: Path) -> None:
    """Write `config-keys.json` under `out`."""
    with tempfile.TemporaryDirectory() as work:
        models = [rows(name, Path(work)) for name in MODELS]
    lines = []
    for model in models:
        changed = ",\n".join(json.dumps(row) for row in model.pop("rows"))
        lines.append(f'{json.dumps(model)[:-1]}, "rows": [\n{changed}\n]}}')
    (out / "config-keys.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
