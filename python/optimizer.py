"""AdamW, clipping and the learning-rate schedule, as specified.

    factor(k) = k / warmup                              for step k ≤ warmup (steps count from 1)
    progress  = (k − warmup) / (total − warmup + 1)     after it, so the rate never reaches 0 inside the run
    cosine    = (1 + cos(π·progress)) / 2,  linear = 1 − progress,  constant = 1

Warm-up below 1 is a fraction of the run, rounded up to steps.
"""

import math

import torch
from torch import nn


def adamw(
    model: nn.Module, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW that does not decay norm weights, biases, and the decay of linear attention."""

    def is_plain(name: str) -> bool:
        return name.endswith((".bias", ".A_log", ".dt_bias")) or "norm" in name

    plain = [p for n, p in model.named_parameters() if is_plain(n)]
    decayed = [p for n, p in model.named_parameters() if not is_plain(n)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, foreach=False)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, lr: float, clip: float) -> float:
    """Clip to global norm `clip`, update at rate `lr`, clear gradients; returns the norm before clipping."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    return update(model, optimizer, clip)


def update(model: nn.Module, optimizer: torch.optim.Optimizer, clip: float) -> float:
    """As `step`, at the rate of each group."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip).item()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def warmup_steps(warmup: float, total: int) -> int:
    """Steps of warm-up: a fraction below 1 is rounded up."""
    return math.ceil(warmup * total) if warmup < 1 else int(warmup)


def lr_factor(kind: str, k: int, warmup: int, total: int) -> float:
    """Multiplier of the base rate at step `k`, counted from 1."""
    if k <= warmup:
        return k / warmup
    progress = (k - warmup) / (total - warmup + 1)
    return {"cosine": 0.5 * (1.0 + math.cos(math.pi * progress)), "linear": 1.0 - progress, "constant": 1.0}[kind]
