"""Tiny random Llama checkpoints, and the results of transformers: states, logits, gradients, ten AdamW steps.

Each folder holds `config.json`, `model.safetensors` (f32) and `expected.safetensors` (f64, rounded to f32):

    input_ids [2, 11]; hidden.embedding, hidden.layers.{i} (output of layer i), hidden.norm [2, 11, hidden];
    logits [2, 11, vocab]; loss [1]; grad.{weight name}; trained.{weight name} (after ten steps);
    losses [10], grad_norms [10] (before clipping)

The loss is the mean over all next tokens. Every step uses the same batch: clip to global norm 1 (factor
`1/(norm + 1e-6)`), then AdamW(1e-3, betas 0.9/0.95, eps 1e-8, decay 0.01 except on norm weights and biases).
"""

import copy
import json
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from double_precision import to_f64
from optimizer import adamw, step

SEED = 20250805
STEPS = 10
COMMON = {
    "vocab_size": 67,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "hidden_act": "silu",
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 100,
}
# With base 100 and head size 8 the wavelengths are 6, 20, 63 and 199: one is interpolated and one fully scaled.
CONFIGS: dict[str, dict] = {
    "tiny-llama-tied": {
        "num_hidden_layers": 2,
        "tie_word_embeddings": True,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
    },
    "tiny-llama-untied": {
        "num_hidden_layers": 3,
        "tie_word_embeddings": False,
        "attention_bias": True,
        "rope_theta": 500.0,
        "rms_norm_eps": 1e-6,
    },
    "tiny-llama-llama3-rope": {
        "num_hidden_layers": 2,
        "tie_word_embeddings": True,
        "head_dim": 8,
        "rope_theta": 100.0,
        "rope_scaling": LLAMA3_ROPE,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 800,
    },
}
# Transformers 5 writes `rope_parameters`; the released checkpoints hold `rope_theta` and `rope_scaling`.
NEW_STYLE_CONFIG = "tiny-llama-untied"


def randomise(model: nn.Module, seed: int, scale: float = 0.25) -> None:
    """Seeded normal weights; norm weights around 1 and biases around 0, so that none of them is an identity."""
    rng = Random(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.tensor([rng.gauss(0.0, scale) for _ in range(p.numel())]).view(p.shape)
            p.copy_(1.0 + noise if "norm" in name else noise)


def by_weight_name(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their names in a checkpoint: transformers holds the experts of a block in one tensor, files do not."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        block, is_of_experts, part = name.partition(".experts.")
        if not is_of_experts:
            found[name] = tensor
            continue
        parts = ("gate_proj", "up_proj") if part == "gate_up_proj" else (part,)
        for index, expert in enumerate(tensor):
            for key, matrix in zip(parts, expert.chunk(len(parts)), strict=True):
                found[f"{block}.experts.{index}.{key}.weight"] = matrix
    return found


def named_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients by Hugging Face weight name; a tied output weight is the embedding's."""
    return by_weight_name({name: p.grad.clone() for name, p in model.named_parameters()})


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights by Hugging Face weight name."""
    return by_weight_name({name: p.detach() for name, p in model.named_parameters()})


def nll(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Mean negative log-likelihood of all next tokens."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))


def forward_states(model: PreTrainedModel, ids: Tensor) -> dict[str, Tensor]:
    """Embedding, each layer's output, normalised output and logits.

    The embedding is what the first layer gets, and the normalised output what the output weight multiplies to logits:
    Granite multiplies the first after looking it up, and divides logits instead of the second.
    """
    states: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda _module, _args, out: states.update({name: (out[0] if isinstance(out, tuple) else out).clone()})

    def keep_input(_module, args, _kwargs):
        states["hidden.embedding"] = args[0].clone()

    modules = {f"hidden.layers.{i}": layer for i, layer in enumerate(model.model.layers)}
    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    hooks.append(model.model.layers[0].register_forward_pre_hook(keep_input, with_kwargs=True))
    hooks.append(model.model.norm.register_forward_hook(keep("hidden.norm")))
    with torch.no_grad():
        states["logits"] = model(input_ids=ids, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    states["hidden.norm"] = states["hidden.norm"] / getattr(model.config, "logits_scaling", 1.0)
    return states


def save_checkpoint(model: LlamaForCausalLM, out: Path, classic: dict | None) -> None:
    """`model.safetensors` and `config.json`; the latter from `classic` keys if given."""
    out.mkdir(parents=True, exist_ok=True)
    tied = model.config.tie_word_embeddings
    weights = {k: v.detach().clone() for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    if classic is None:
        config = model.config.to_diff_dict()
    else:
        config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **classic, "torch_dtype": "float32"}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def ten_steps(model: PreTrainedModel, ids: Tensor) -> tuple[list[float], list[float]]:
    """Trains on one batch; losses and gradient norms of the steps."""
    optimizer, losses, norms = adamw(model, 1e-3, (0.9, 0.95), 1e-8, 0.01), [], []
    for _ in range(STEPS):
        loss = nll(model, ids)
        loss.backward()
        losses.append(loss.item())
        norms.append(step(model, optimizer, 1e-3, 1.0))
    return losses, norms


def expected_values(model: PreTrainedModel, ids: Tensor) -> dict[str, Tensor]:
    """The results of a model in f64, rounded to f32: states, loss, gradients, ten steps. The model is changed."""
    expected = {"input_ids": ids, **forward_states(to_f64(model), ids)}
    loss = nll(model, ids)
    loss.backward()
    expected["loss"] = loss.detach()[None]
    expected |= {f"grad.{k}": v for k, v in named_gradients(model).items()}
    model.zero_grad()
    losses, norms = ten_steps(model, ids)
    expected |= {f"trained.{k}": p for k, p in named_weights(model).items()}
    expected |= {"losses": torch.tensor(losses), "grad_norms": torch.tensor(norms)}
    return {k: (v.float() if v.is_floating_point() else v).contiguous() for k, v in expected.items()}


def generate_one(name: str, keys: dict, seed: int, out: Path) -> None:
    """One checkpoint folder."""
    keys = COMMON | keys
    model = LlamaForCausalLM(
        LlamaConfig(**copy.deepcopy(keys), attn_implementation="sdpa", architectures=["LlamaForCausalLM"])
    )
    randomise(model, seed)
    save_checkpoint(model, out, None if name == NEW_STYLE_CONFIG else keys)
    again = LlamaForCausalLM.from_pretrained(out, attn_implementation="sdpa")
    ids = torch.randint(keys["vocab_size"], (2, 11), generator=torch.Generator().manual_seed(seed + 1))
    if not torch.equal(forward_states(again, ids)["logits"], forward_states(model, ids)["logits"]):
        raise ValueError(f"`{name}`: the written configuration reads back as another model")
    save_file(expected_values(model, ids), out / "expected.safetensors")


def generate(out: Path) -> None:
    """Write the three checkpoint folders under `out`."""
    for i, (name, keys) in enumerate(CONFIGS.items()):
        generate_one(name, keys, SEED + 10 * i, out / name)
