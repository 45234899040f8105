"""Ten updates of small parameters by Adafactor of transformers and Muon of PyTorch: `optimizers.safetensors`.

All is in f64. Muon's iteration, which PyTorch rounds to bf16, is too; embeddings and vectors are updated by AdamW.
Gradients are given: `grad.NAME`, one for each update.
"""

import types
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.optim import _muon
from transformers.optimization import Adafactor

SEED = 20251131
STEPS = 10
LR, WEIGHT_DECAY = 1e-2, 0.1
BETAS, EPS = (0.9, 0.95), 1e-8
SHAPES = {
    "embed_tokens.weight": (10, 6),
    "up_proj.weight": (14, 6),
    "down_proj.weight": (6, 14),
    "norm.weight": (6,),
}


def decayed(values: dict[str, torch.Tensor]) -> list[dict]:
    """Groups of parameters with and without weight decay."""
    plain = [value for name, value in values.items() if "norm" in name]
    rest = [value for name, value in values.items() if "norm" not in name]
    return [{"params": rest, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]


def adafactor(values: dict[str, torch.Tensor], scale_parameter: bool) -> list[torch.optim.Optimizer]:
    """Adafactor with a given learning rate."""
    return [Adafactor(decayed(values), lr=LR, scale_parameter=scale_parameter, relative_step=False)]


def muon(values: dict[str, torch.Tensor], adjust_lr_fn: str) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of hidden layers, AdamW for the rest."""
    hidden = {name: value for name, value in values.items() if "_proj" in name}
    rest = {name: value for name, value in values.items() if "_proj" not in name}
    return [
        torch.optim.Muon(list(hidden.values()), lr=LR, weight_decay=WEIGHT_DECAY, adjust_lr_fn=adjust_lr_fn),
        torch.optim.AdamW(decayed(rest), lr=LR, betas=BETAS, eps=EPS, foreach=False),
    ]


def generate(out: Path) -> None:
    """Write `optimizers.safetensors`."""
    # The iteration in f64.
    _muon.torch = types.SimpleNamespace(**{**vars(torch), "bfloat16": torch.float64})
    generator = torch.Generator().manual_seed(SEED)
    start = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    # Sizes that change from update to update, so that some are clipped and some are not.
    sizes = torch.tensor([10.0 ** -(step % 3) for step in range(STEPS)])
    grads = {
        name: torch.randn((STEPS, *shape), generator=generator) * sizes.view(-1, *[1] * len(shape))
        for name, shape in SHAPES.items()
    }
    arrays = {f"start.{name}": value for name, value in start.items()}
    arrays |= {f"grad.{name}": value for name, value in grads.items()}
    cases = {
        "adafactor": (adafactor, False),
        "adafactor-scaled": (adafactor, True),
        "muon-match-rms-adamw": (muon, "match_rms_adamw"),
        "muon-original": (muon, "original"),
    }
    for case, (optimizers_of, option) in cases.items():
        values = {name: value.double().requires_grad_() for name, value in start.items()}
        optimizers = optimizers_of(values, option)
        for step in range(STEPS):
            for name, value in values.items():
                value.grad = grads[name][step].double()
            for optimizer in optimizers:
                optimizer.step()
        arrays |= {f"{case}.{name}": value.detach() for name, value in values.items()}
    save_file({name: array.contiguous() for name, array in arrays.items()}, out / "optimizers.safetensors")
