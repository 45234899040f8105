"""What the tiny Llama checkpoints give when the linear layers of their blocks multiply in bf16, the rest in f32.

Each folder `tiny-bf16/NAME` holds `expected.safetensors` for the checkpoint NAME, as `tiny_llama.py` describes it without the
states: `y = f32(bf16(x) bf16(W)ᵀ)` in every linear layer of the blocks, f32 master weights, ten AdamW steps.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaForCausalLM

import tiny_llama
from optimizer import adamw, step

SEED = 20250805
NAMES = ("tiny-llama-tied", "tiny-llama-untied")


def bf16_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """The product in bf16; the bias, where there is one, in f32."""
    y = nn.functional.linear(x.bfloat16(), module.weight.bfloat16()).float()
    return y if module.bias is None else y + module.bias


def to_bf16_products(model: LlamaForCausalLM) -> None:
    """Replace the forward pass of every linear layer in the blocks."""
    for module in model.model.layers.modules():
        if isinstance(module, nn.Linear):
            module.forward = lambda x, m=module: bf16_linear(m, x)


def generate_one(name: str, seed: int, out: Path) -> None:
    """One folder."""
    fixtures = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
    model = LlamaForCausalLM.from_pretrained(fixtures / name, dtype=torch.float32, attn_implementation="sdpa")
    to_bf16_products(model)
    vocab = model.config.vocab_size
    ids = torch.randint(vocab, (2, 11), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = {"input_ids": ids, "logits": model(input_ids=ids, use_cache=False).logits}
    loss = tiny_llama.nll(model, ids)
    loss.backward()
    expected["loss"] = loss.detach()[None]
    expected |= {f"grad.{k}": v for k, v in tiny_llama.named_gradients(model).items()}
    model.zero_grad()
    optimizer, losses, norms = adamw(model, 1e-3, (0.9, 0.95), 1e-8, 0.01), [], []
    for _ in range(tiny_llama.STEPS):
        loss = tiny_llama.nll(model, ids)
        loss.backward()
        losses.append(loss.item())
        norms.append(step(model, optimizer, 1e-3, 1.0))
    expected |= {"losses": torch.tensor(losses), "grad_norms": torch.tensor(norms)}
    out.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in expected.items()}, out / "expected.safetensors")


def generate(out: Path) -> None:
    """Write the folders under `out`."""
    for i, name in enumerate(NAMES):
        generate_one(name, SEED + 200 + i, out / "tiny-bf16" / name)
