"""A tiny trained checkpoint directory for end-to-end fixtures: tokenizer files, `config.json`, `model.safetensors`.

Some training is needed so that gates and scores spread. It runs in f64 and is rounded to f32 at the end, so another
CPU's order of summation does not change the file.
"""

import json
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import examples
import tokenizer as bpe
from double_precision import to_f64
from optimizer import adamw
from optimizer import step as update
from reference_trainer import log_likelihoods


def texts(rows: list[dict]) -> list[str]:
    """All strings in these rows, to train a tokenizer on."""
    chats = [m["content"] for r in rows for m in r.get("messages", [])]
    return (
        chats + [r[k] for r in rows for k in ("prompt", "completion") if k in r] + ["user", "assistant", "system"] * 20
    )


def config(vocab_size: int, hidden: int, layers: int, tied: bool) -> dict:
    """A Llama configuration, keys as released checkpoints have them."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "initializer_range": 0.08,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


def initialise(model: nn.Module, rng: Random, scale: float) -> None:
    """Normal matrices, from Python's generator: torch's differs between processors in the last bit."""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.copy_(torch.tensor([rng.gauss(0.0, scale) for _ in range(p.numel())]).view(p.shape))


def write(out: Path, rows: list[dict], keys: dict, seed: int, steps: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer and a model on `rows` (batches of 8, rate 3e-3) and write the directory."""
    bpe.write(bpe.train(texts(rows), keys["vocab_size"]), out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    samples = [examples.build(r, tokenizer, str(i)) for i, r in enumerate(rows)]
    rng = Random(seed)
    model = to_f64(LlamaForCausalLM(LlamaConfig(**keys, attn_implementation="sdpa")))
    initialise(model, rng, keys["initializer_range"])
    optimizer = adamw(model, 3e-3, (0.9, 0.95), 1e-8, 0.01)
    for _ in range(steps):
        (-log_likelihoods(model, rng.sample(samples, 8)).mean()).backward()
        update(model, optimizer, 3e-3, 1.0)
    weights = {k: v.detach().float().contiguous() for k, v in model.named_parameters()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(keys, indent=2) + "\n", encoding="utf-8")
    return tokenizer
