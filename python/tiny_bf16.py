"""What the tiny Llama checkpoints give when the linear layers of their blocks multiply in bf16, the rest in f32.

Each folder `tiny-bf16/NAME` holds `expected.safetensors` for the checkpoint NAME, as `tiny_llama.py` describes it without the
states. In every linear layer of the blocks the factors of the three products, `y = x Wᵀ`, `∂x = ∂y W` and `∂W = ∂yᵀ x`, are
rounded to bf16; the products are summed and kept in f32. f32 master weights, ten AdamW steps.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaForCausalLM

import tiny_llama
from optimizer import adamw, step

SEED = 20250805
NAMES = ("tiny-llama-tied", "tiny-llama-untied")


def rounded(x: Tensor) -> Tensor:
    """`x` with the digits of bf16, in f32."""
    return x.bfloat16().float()


class Bf16Linear(torch.autograd.Function):
    """`x Wᵀ` of factors rounded to bf16, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """In f32."""
        x, weight = rounded(x), rounded(weight)
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """In f32."""
        x, weight = ctx.saved_tensors
        grad = rounded(grad)
        return grad @ weight, grad.flatten(0, 1).T @ x.flatten(0, 1)


def bf16_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """The product of bf16 factors; the bias, where there is one, in f32."""
    y = Bf16Linear.apply(x, module.weight)
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
