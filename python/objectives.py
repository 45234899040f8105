"""The objective family in PyTorch, written from the equations and independent of the Rust code.

    loss    = Σ_i a_i w_i Σ_t −sg[g_it] · log p_it / normaliser
    c_i     = (1/|y_i|) Σ_t −log p_it
    z_i     = (c_i − μ) / (σ + 1e-6),  σ the population standard deviation;  z = 0 at |B| = 1
    w_i     = exp(−β · max(0, z_i))

`a_i` is the data's `weight` field, `w_i` the method's weight; both stay out of every denominator:

    token-mean   Σ_i a_i w_i Σ_t … / Σ_i |y_i|
    sample-mean  (1/|B|) Σ_i (a_i w_i / |y_i|) Σ_t …
    sample-sum   (1/|B|) Σ_i a_i w_i Σ_t …
"""

from dataclasses import dataclass

import torch
from torch import Tensor

EPS = 1e-6
NORMALISATIONS = ("token-mean", "sample-mean", "sample-sum")


@dataclass(frozen=True)
class Objective:
    """A member of the family: token gate p^alpha (alpha 0 is plain NLL) and CADFT's beta (0 is no sample weight)."""

    name: str
    alpha: float
    beta: float = 0.0

    def gate(self, log_p: Tensor) -> Tensor:
        """Detached token gates g = p^alpha, same shape as `log_p`."""
        return torch.exp(self.alpha * log_p.detach())


NLL = Objective("nll", 0.0)
DFT = Objective("dft", 1.0)


def scores(log_p: Tensor, sample: Tensor, samples: int) -> Tensor:
    """CADFT-1: mean negative log-likelihood of each sample, detached, in f64."""
    zero = torch.zeros(samples, dtype=torch.float64)
    total = zero.index_add(0, sample, -log_p.detach().double())
    return total / lengths(sample, samples)


def lengths(sample: Tensor, samples: int) -> Tensor:
    """Supervised tokens of each sample, f64."""
    return torch.bincount(sample, minlength=samples).double()


def standardise(c: Tensor, mu: Tensor | float, sigma: Tensor | float) -> Tensor:
    """CADFT-2 with given statistics."""
    return (c - mu) / (sigma + EPS)


def standardise_batch(c: Tensor) -> Tensor:
    """CADFT-2 with the batch's own population statistics; zero where there is one sample."""
    if c.numel() == 1:
        return torch.zeros_like(c)
    return standardise(c, c.mean(), c.std(unbiased=False))


def sample_weights(z: Tensor, beta: float) -> Tensor:
    """CADFT-3."""
    return torch.exp(-beta * z.clamp(min=0.0))


def multipliers(weights: Tensor, sample: Tensor, samples: int, normalisation: str) -> Tensor:
    """What every token's −g·log p is multiplied by: its sample's weight over the one global denominator."""
    n = lengths(sample, samples)
    per_sample = {
        "token-mean": weights / n.sum(),
        "sample-mean": weights / n / samples,
        "sample-sum": weights / samples,
    }[normalisation]
    return per_sample[sample]
