"""Golden values of every objective in f64: `objectives.safetensors` (arrays), `objectives.json` (options, scalars).

Arrays are named `case/…` for inputs and token likelihoods, `case/objective/…` for gates, z and w, and
`case/objective/normalisation/…` for gradients. Token t of `hidden` predicts `targets[t]` and belongs to sample
`sample_index[t]`. Gradients come from autograd through −sg[g]·log p.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import trl_peer
from objectives import (
    DFT,
    EPS,
    NLL,
    NORMALISATIONS,
    Objective,
    multipliers,
    sample_weights,
    scores,
    standardise_batch,
)

SEED = 20260611
OBJECTIVES = [
    NLL,
    DFT,
    *(
        Objective(f"cadft-{gate}-beta{beta}", alpha, beta)
        for gate, alpha in (("dft", 1.0), ("nll", 0.0))
        for beta in (0.5, 1.0, 2.0)
    ),
    Objective("power-alpha0.5", 0.5),
    Objective("power-alpha2.0", 2.0),
]


# TRL has no per-sample weights, so only cases whose data weights are 1 compare.
# TRL's log-likelihood kernel works in f32.
TRL_TOLERANCE = 1e-6
TRL_CASES = ("single-sample", "one-token-sample", "p-is-one-tenth")


@dataclass
class Case:
    """One batch: hidden states, output weight, targets, sample of each token, the data's `weight` of each sample."""

    hidden: Tensor  # [tokens, hidden]
    weight: Tensor  # [vocab, hidden]
    targets: Tensor  # [tokens]
    sample_index: Tensor  # [tokens]
    data_weights: Tensor  # [samples]
    about: str


def random_case(lengths: list[int], vocab: int, hidden: int, seed: int, about: str, scale: float = 1.0) -> Case:
    """A seeded case with the given supervised tokens per sample, logits of standard deviation about 1.5·scale."""
    g = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    return Case(
        hidden=scale * torch.randn(tokens, hidden, generator=g, dtype=torch.float64),
        weight=torch.randn(vocab, hidden, generator=g, dtype=torch.float64) * 1.5 / hidden**0.5,
        targets=torch.randint(vocab, (tokens,), generator=g),
        sample_index=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
        data_weights=torch.ones(len(lengths), dtype=torch.float64),
        about=about,
    )


def cases() -> dict[str, Case]:
    """The base case and the named edge cases."""
    base = random_case([7, 3, 5, 2, 6], 37, 16, SEED, "random; five samples of unequal length; data weights differ")
    base.data_weights = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.0], dtype=torch.float64)
    # Make the targets of two samples likely and of one unlikely, so that gates and z spread over their range.
    logits = base.hidden @ base.weight.T
    for sample, pick in ((0, logits.argmax(1)), (3, logits.argmax(1)), (1, logits.argmin(1))):
        base.targets = torch.where(base.sample_index == sample, pick, base.targets)

    uniform = random_case(
        [4, 1, 3], 11, 5, SEED + 2, "weight 0: uniform logits, every score ln 11, sigma 0 up to rounding"
    )
    uniform.weight = torch.zeros_like(uniform.weight)

    one = random_case([4], 13, 6, SEED + 3, "four identical samples: sigma exactly 0, z 0, w 1")
    identical = Case(
        one.hidden.repeat(4, 1),
        one.weight,
        one.targets.repeat(4),
        torch.arange(4).repeat_interleave(4),
        torch.ones(4, dtype=torch.float64),
        one.about,
    )

    extreme = random_case([3, 2, 4], 9, 4, SEED + 5, "logits of ±1e4: p is 0 or 1 and log p down to −2e4")
    logits = extreme.hidden @ extreme.weight.T
    extreme.hidden = extreme.hidden * (1e4 / logits.abs().max(1, keepdim=True).values)

    p = torch.tensor([0.1, 0.3, 0.2, 0.4], dtype=torch.float64)
    tenth = Case(
        torch.eye(1, 3, dtype=torch.float64),
        torch.zeros(4, 3, dtype=torch.float64),
        torch.tensor([0]),
        torch.tensor([0]),
        torch.ones(1, dtype=torch.float64),
        "p = 0.1: the DFT gradient on the target logit is −0.09 (it raises p), not +0.117 as without stop-gradient",
    )
    tenth.weight[:, 0] = p.log()

    return {
        "base": base,
        "single-sample": random_case([5], 17, 7, SEED + 1, "|B| = 1: z 0, w 1"),
        "uniform-logits": uniform,
        "identical-samples": identical,
        "one-token-sample": random_case([1, 6, 1], 19, 8, SEED + 4, "samples of a single token"),
        "extreme-logits": extreme,
        "p-is-one-tenth": tenth,
    }


def evaluate(case: Case, objective: Objective, arrays: dict[str, Tensor], prefix: str) -> dict:
    """Loss, reported value and gradients of one objective under every normalisation; fills `arrays`."""
    samples = case.data_weights.numel()
    log_p = torch.log_softmax(case.hidden @ case.weight.T, -1).gather(1, case.targets[:, None])[:, 0]
    c = scores(log_p, case.sample_index, samples)
    z = standardise_batch(c)
    w = sample_weights(z, objective.beta)
    gate = objective.gate(log_p)
    arrays |= {f"{prefix}/gate": gate, f"{prefix}/z": z, f"{prefix}/w": w}
    result = {}
    for normalisation in NORMALISATIONS:
        hidden, weight = case.hidden.clone().requires_grad_(), case.weight.clone().requires_grad_()
        logits = hidden @ weight.T
        logits.retain_grad()
        live = torch.log_softmax(logits, -1).gather(1, case.targets[:, None])[:, 0]
        factor = multipliers(case.data_weights * w, case.sample_index, samples, normalisation)
        loss = (factor * -gate * live).sum()
        loss.backward()
        grads = {"logits": logits.grad, "hidden": hidden.grad, "weight": weight.grad}
        arrays |= {f"{prefix}/{normalisation}/grad_{k}": v for k, v in grads.items()}
        result[normalisation] = {"loss": loss.item()}
        if objective.name.startswith("power"):
            value = (1.0 - log_p.exp() ** objective.alpha) / objective.alpha
            result[normalisation]["reported_loss"] = (factor * value).sum().item()
    return result


def trl_agreement(name: str, case: Case, report: dict, arrays: dict[str, Tensor]) -> dict:
    """TRL's own DFT loss and gradient beside ours; raises where they differ."""
    loss, grad = trl_peer.dft_loss(case.hidden, case.weight, case.targets)
    ours = report["cases"][name]["objectives"]["dft"]["token-mean"]["loss"]
    error = (grad - arrays[f"{name}/dft/token-mean/grad_hidden"]).abs().max().item()
    if abs(loss - ours) > TRL_TOLERANCE or error > TRL_TOLERANCE:
        raise ValueError(f"TRL disagrees on `{name}`: loss {loss} against {ours}, gradient error {error}")
    return {"version": trl_peer.VERSION, "loss": loss, "ours": ours, "max_grad_hidden_error": error}


def generate(out: Path) -> None:
    """Write both files under `out`."""
    arrays: dict[str, Tensor] = {}
    report: dict = {
        "eps": EPS,
        "sigma": "population",
        "objectives": {o.name: {"alpha": o.alpha, "beta": o.beta} for o in OBJECTIVES},
        "normalisations": list(NORMALISATIONS),
        "cases": {},
    }
    for name, case in cases().items():
        log_probs = torch.log_softmax(case.hidden @ case.weight.T, -1)
        log_p = log_probs.gather(1, case.targets[:, None])[:, 0]
        samples = case.data_weights.numel()
        c = scores(log_p, case.sample_index, samples)
        arrays |= {
            f"{name}/hidden": case.hidden,
            f"{name}/weight": case.weight,
            f"{name}/targets": case.targets,
            f"{name}/sample_index": case.sample_index,
            f"{name}/data_weights": case.data_weights,
            f"{name}/log_p": log_p,
            f"{name}/entropy": -(log_probs.exp() * log_probs).sum(1),
            f"{name}/scores": c,
        }
        report["cases"][name] = {
            "about": case.about,
            "tokens": case.hidden.shape[0],
            "hidden": case.hidden.shape[1],
            "vocab": case.weight.shape[0],
            "samples": samples,
            "mu": c.mean().item(),
            "sigma": c.std(unbiased=False).item(),
            "objectives": {o.name: evaluate(case, o, arrays, f"{name}/{o.name}") for o in OBJECTIVES},
        }
    report["trl"] = {
        name: trl_agreement(name, case, report, arrays) for name, case in cases().items() if name in TRL_CASES
    }
    save_file({k: v.detach().contiguous() for k, v in arrays.items()}, out / "objectives.safetensors")
    (out / "objectives.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
