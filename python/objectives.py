"""The objective family in PyTorch, written from the equations and independent of the Rust code.

    loss    = Σ_i a_i w_i Σ_t −sg[g_it] · log p_it / normaliser
    c_i     = (1/|y_i|) Σ_t −log p_it
    z_i     = (c_i − μ) / (σ + 1e-6),  σ the population standard deviation;  z = 0 at |B| = 1
    w_i     = exp(−β · max(0, z_i)),  or of iw-SFT clamp(exp(τ·(c_i before training − c_i)), 0, 16)

ASFT and KL-SFT add λ·KL(before training‖now) of each token, with the same factor as −g·log p.

`a_i` is the data's `weight` field, `w_i` the method's weight; both stay out of every denominator:

    token-mean   Σ_i a_i w_i Σ_t … / Σ_i |y_i|
    sample-mean  (1/|B|) Σ_i (a_i w_i / |y_i|) Σ_t …
    sample-sum   (1/|B|) Σ_i a_i w_i Σ_t …
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

EPS = 1e-6
NORMALISATIONS = ("token-mean", "sample-mean", "sample-sum")


@dataclass(frozen=True)
class Frozen:
    """A frozen model: log q of the targets [tokens], and all its log-probabilities [tokens, vocab]."""

    log_q: Tensor
    log_probs: Tensor


# Of log p of the targets [tokens], all log-probabilities [tokens, vocab], the scores of the global batch [samples] and the
# frozen model.
Gate = Callable[[Tensor, Tensor, Tensor, Frozen | None], Tensor]


def power(alpha: float) -> Gate:
    """g = p^alpha."""
    return lambda log_p, log_probs, c, q: torch.exp(alpha * log_p)


def eaft(alpha: float, k: int = 20) -> Gate:
    """g = (H_k / ln k)^alpha, with the entropy of the k most likely tokens, renormalised."""

    def gate(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
        top = torch.log_softmax(torch.topk(log_probs, min(k, log_probs.shape[1]), dim=1).values, 1)
        return (-(top.exp() * top).sum(1) / math.log(k)).clamp(min=0.0) ** alpha

    return gate


def idft(beta: float) -> Gate:
    """g = p^gamma, gamma = clamp(exp(−(log p + H)/beta), 0.1, 2)."""

    def gate(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
        phi = log_p + entropy(log_probs)
        return torch.exp(log_p * torch.exp(-phi / beta).clamp(0.1, 2.0))

    return gate


def deft(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
    """g = alpha/(alpha + 1e-6)·p^alpha with alpha = Σ p²: the derivative of (1 − p^alpha)/(alpha + 1e-6) by −log p."""
    alpha = collision(log_probs)
    return alpha / (alpha + 1e-6) * torch.exp(alpha * log_p)


def info_sft(threshold: float) -> Gate:
    """g = p·max(0, logit(threshold) − logit(p))."""
    highest = math.log(threshold / (1 - threshold))
    return lambda log_p, log_probs, c, q: log_p.exp() * (highest - logit(log_p)).clamp(min=0.0)


def logit(log_p: Tensor) -> Tensor:
    """log(p/(1 − p))."""
    return log_p - torch.log(-torch.expm1(log_p))


def chord_phi(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
    """g = p(1 − p)."""
    return log_p.exp() * (1.0 - log_p.exp())


def profit(threshold: float) -> Gate:
    """g = 1 where p > threshold."""
    return lambda log_p, log_probs, c, q: (log_p.exp() > threshold).to(log_p.dtype)


def sed_sft(strength: float, k: int, threshold: float) -> Gate:
    """g = 1 − 2·strength·M·p(p − 1/2), M = 1 where the k likeliest have less than the threshold."""

    def gate(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
        p, has_room = log_p.exp(), top_mass(log_probs, k) < threshold
        return 1.0 - 2.0 * strength * has_room * p * (p - 0.5)

    return gate


def talr(temperature: float | None, floor: float) -> Gate:
    """g = max(p^{1/temperature}, floor); without a temperature, the lower median of the scores."""

    def gate(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
        tau = c.median().item() if temperature is None else temperature
        return torch.exp(log_p / max(tau, 1e-6)).clamp(min=floor)

    return gate


def prift_prob(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
    """g = q of the target."""
    return q.log_q.exp()


def prift_mass(threshold: float) -> Gate:
    """g = 1 where all tokens at most as likely as the target under q have at least the threshold."""
    return lambda log_p, log_probs, c, q: (mass_below(q) >= threshold).to(log_p.dtype)


def psft(clip: float) -> Gate:
    """g = r where r = p/q is at most 1 + clip."""

    def gate(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
        ratio = torch.exp(log_p - q.log_q)
        return torch.where(ratio <= 1.0 + clip, ratio, torch.zeros_like(ratio))

    return gate


def rho(top: float) -> Gate:
    """g = 1/top where log q − log p is among the largest share `top` of the batch."""

    def gate(log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None) -> Tensor:
        excess = q.log_q - log_p
        least = torch.topk(excess, math.ceil(top * excess.numel())).values[-1]
        return (excess >= least).to(log_p.dtype) / top

    return gate


def mass_below(q: Frozen) -> Tensor:
    """Probability of all tokens that are at most as likely as the target, of every row."""
    is_below = q.log_probs <= q.log_q[:, None]
    return torch.where(is_below, q.log_probs.exp(), torch.zeros_like(q.log_probs)).sum(1)


def top_mass(log_probs: Tensor, k: int) -> Tensor:
    """Probability of the k likeliest of every row."""
    return torch.topk(log_probs, min(k, log_probs.shape[1]), dim=1).values.exp().sum(1)


def entropy(log_probs: Tensor) -> Tensor:
    """Entropy of every row, nats."""
    return -(log_probs.exp() * log_probs).sum(1)


def collision(log_probs: Tensor) -> Tensor:
    """Σ p² of every row."""
    return log_probs.exp().square().sum(1)


def divergence(log_probs: Tensor, before: Tensor) -> Tensor:
    """KL(before‖now) of every row, nats, by PyTorch's own function."""
    return torch.nn.functional.kl_div(log_probs, before, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True)
class Objective:
    """A member of the family; parts that are 0 or None are absent."""

    name: str
    gates: Gate
    beta: float = 0.0  # CADFT's sample weights
    anchor: float = 0.0  # factor of the divergence from the model before training
    temperature: float | None = None  # iw-SFT's sample weights
    looks_at_tokens: bool = False  # of the frozen model
    every: int = 0  # steps until PSFT's frozen model is renewed

    def gate(self, log_p: Tensor, log_probs: Tensor, c: Tensor, q: Frozen | None = None) -> Tensor:
        """Detached gates of targets of these `log_p`, in these distributions, in a batch of scores `c`: see `Gate`."""
        return self.gates(log_p.detach(), log_probs.detach(), c.detach(), q)

    def weights(self, z: Tensor, c: Tensor, before: Tensor | None) -> Tensor:
        """Sample weights of scores `c`, of which `z` are standardised, and of those of the model before training."""
        if self.temperature is not None:
            return torch.exp(self.temperature * (before - c)).clamp(0.0, 16.0)
        return sample_weights(z, self.beta)

    @property
    def looks_back(self) -> bool:
        """Whether the model before training is needed."""
        return self.anchor > 0.0 or self.temperature is not None or self.looks_at_tokens


NLL = Objective("nll", power(0.0))
DFT = Objective("dft", power(1.0))


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
    """The factor of every token's −g·log p: its sample's weight over the global denominator."""
    n = lengths(sample, samples)
    per_sample = {
        "token-mean": weights / n.sum(),
        "sample-mean": weights / n / samples,
        "sample-sum": weights / samples,
    }[normalisation]
    return per_sample[sample]
