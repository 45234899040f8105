"""Results of the tiny Llama checkpoints if the factors of all products are rounded to bf16, and the rest is in f32.

Each folder `tiny-bf16/NAME` holds `expected.safetensors` for the checkpoint NAME, as `tiny_llama.py` describes it without
the states. In every linear layer, the output projection among them, and in both products of attention the factors of the
three products `y = a b`, `∂a = ∂y bᵀ` and `∂b = aᵀ ∂y` are rounded to bf16; what is summed and what comes out is f32.
Queries are scaled before they are rounded. f32 master weights, ten AdamW steps.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import tiny_llama
from optimizer import adamw, step

SEED = 20250805
NAMES = ("tiny-llama-tied", "tiny-llama-untied")


def rounded(x: Tensor) -> Tensor:
    """`x` rounded to bf16, in f32."""
    return x.bfloat16().float()


class Bf16Product(torch.autograd.Function):
    """`a b` of factors rounded to bf16, forward and backward; matrices of the same batch."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """In f32."""
        a, b = rounded(a), rounded(b)
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """In f32."""
        a, b = ctx.saved_tensors
        grad = rounded(grad)
        return grad @ b.mT, a.mT @ grad


def bf16_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """The product of bf16 factors; the bias, if there is one, in f32."""
    y = Bf16Product.apply(x.flatten(0, 1), module.weight.T).unflatten(0, x.shape[:2])
    return y if module.bias is None else y + module.bias


class Bf16Attention(torch.autograd.Function):
    """Causal attention of scaled queries, its products of bf16 factors.

    The row sums of the softmax's gradient are those of `do · o` (Dao et al. 2022, arXiv 2205.14135, appendix B.2).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """In f32."""
        query, key, value = rounded(query), rounded(key), rounded(value)
        scores = query @ key.mT
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        probabilities = scores.masked_fill(hidden, float("-inf")).softmax(dim=-1)
        output = rounded(probabilities) @ value
        ctx.save_for_backward(query, key, value, probabilities, output)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """In f32."""
        query, key, value, probabilities, output = ctx.saved_tensors
        grad = rounded(grad)
        sums = (grad * output).sum(dim=-1, keepdim=True)
        of_scores = rounded(probabilities * (grad @ value.mT - sums))
        return of_scores @ key, of_scores.mT @ query, rounded(probabilities).mT @ grad


def bf16_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Causal attention of rotated queries and keys `[batch, heads, seq, head_dim]`, its products of bf16 factors."""
    del attention_mask  # No row is padded.
    key, value = (x.repeat_interleave(module.num_key_value_groups, dim=1) for x in (key, value))
    return Bf16Attention.apply(query * scaling, key, value).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register("bf16_products", bf16_attention)


def to_bf16_products(model: LlamaForCausalLM) -> None:
    """Replace the forward pass of every linear layer, the output projection among them."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.forward = lambda x, m=module: bf16_linear(m, x)


def generate_one(name: str, seed: int, out: Path) -> None:
    """One folder."""
    fixtures = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
    model = LlamaForCausalLM.from_pretrained(fixtures / name, dtype=torch.float32, attn_implementation="bf16_products")
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
