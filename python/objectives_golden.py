"""Golden values of every objective in f64: `objectives.safetensors` (arrays), `objectives.json` (options, scalars).

Arrays are named `case/…` for inputs and token likelihoods, `case/objective/…` for gates, z and w, and
`case/objective/normalisation/…` for gradients. `case/before` are the logits of the model before training. Token t of
`hidden` predicts `targets[t]` and belongs to sample `sample_index[t]`. Gradients come from autograd through −sg[g]·log p.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import trl_peer
from objectives import (
    EPS,
    NORMALISATIONS,
    Frozen,
    collision,
    divergence,
    eaft,
    entropy,
    mass_below,
    multipliers,
    scores,
    standardise_batch,
    top_mass,
)
from recipe import parse_objective

SEED = 20260611
# By label, in the spelling of recipes.
OBJECTIVES: dict[str, dict] = {
    "nll": {"nll": {}},
    "dft": {"dft": {}},
    **{
        f"cadft-{gate}-beta{beta}": {"cadft": {"gate": gate, "beta": beta}}
        for gate in ("dft", "nll")
        for beta in (0.5, 1.0, 2.0)
    },
    "power-alpha0.5": {"power": {"alpha": 0.5}},
    "power-alpha2.0": {"power": {"alpha": 2.0}},
    "asft": {"asft": {}},
    "asft-lambda0.7": {"asft": {"lambda": 0.7}},
    "eaft": {"eaft": {}},
    "eaft-alpha2.0": {"eaft": {"alpha": 2.0}},
    "iw-sft": {"iw-sft": {}},
    "iw-sft-temperature0.5": {"iw-sft": {"temperature": 0.5}},
    "idft": {"idft": {}},
    "idft-beta2.0": {"idft": {"beta": 2.0}},
    "deft": {"deft": {}},
    "info-sft": {"info-sft": {}},
    "info-sft-threshold0.5": {"info-sft": {"threshold": 0.5}},
    "chord-phi": {"chord-phi": {}},
    # The threshold must not equal a probability of a case, such as 0.1.
    "profit-threshold0.05": {"profit": {"threshold": 0.05}},
    "profit-threshold0.3": {"profit": {"threshold": 0.3}},
    "sed-sft": {"sed-sft": {}},
    "sed-sft-lambda0.5": {"sed-sft": {"lambda": 0.5, "k": 3, "threshold": 0.65}},
    "talr": {"talr": {}},
    "talr-temperature2.0": {"talr": {"temperature": 2.0, "floor": 0.2}},
    "kl-sft": {"kl-sft": {}},
    "kl-sft-lambda0.7": {"kl-sft": {"gate": "chord-phi", "lambda": 0.7}},
    "cadft-sed-sft": {"cadft": {"gate": "sed-sft"}},
    "prift": {"prift": {}},
    "prift-mass": {"prift": {"support": "mass"}},
    "prift-mass-threshold0.2": {"prift": {"support": "mass", "threshold": 0.2}},
    "psft": {"psft": {}},
    "psft-clip1.5": {"psft": {"clip": 1.5}},
    "rho": {"rho": {}},
    "rho-top0.3": {"rho": {"top": 0.3}},
    "cadft-prift": {"cadft": {"gate": "prift"}},
    "kl-sft-rho": {"kl-sft": {"gate": "rho"}},
}

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

    def before(self) -> Tensor:
        """Logits of a model before training: those of this one, changed by as much as their own size."""
        g = torch.Generator().manual_seed(SEED + 6)
        logits = self.hidden @ self.weight.T
        scale = 0.1 * max(5.0, logits.abs().max().item())
        return logits + scale * torch.randn(logits.shape, generator=g, dtype=torch.float64)


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


def published(objective: dict, log_p: Tensor, log_probs: Tensor) -> Tensor | None:
    """The loss of each token as its authors write it, if that is not −sg[g]·log p."""
    ((name, options),) = objective.items()
    if name == "power":
        return (1.0 - log_p.exp() ** options["alpha"]) / options["alpha"]
    if name == "deft":
        alpha = collision(log_probs.detach())
        return (1.0 - log_p.exp() ** alpha) / (alpha + 1e-6)
    if name == "sed-sft":
        k, threshold = options.get("k", 2), options.get("threshold", 0.95)
        has_room = top_mass(log_probs.detach(), k) < threshold
        return -log_p + options.get("lambda", 1.0) * has_room * (log_p.exp() - 0.5) ** 2
    return None


def evaluate(case: Case, table: dict, arrays: dict[str, Tensor], prefix: str) -> dict:
    """Loss, reported value and gradients of one objective under every normalisation; fills `arrays`."""
    objective, _ = parse_objective(table)
    samples = case.data_weights.numel()
    targets = case.targets[:, None]
    before = torch.log_softmax(case.before(), -1)
    log_probs = torch.log_softmax(case.hidden @ case.weight.T, -1)
    c = scores(log_probs.gather(1, targets)[:, 0], case.sample_index, samples)
    z = standardise_batch(c)
    w = objective.weights(z, c, scores(before.gather(1, targets)[:, 0], case.sample_index, samples))
    frozen = Frozen(before.gather(1, targets)[:, 0], before)
    gate = objective.gate(log_probs.gather(1, targets)[:, 0], log_probs, c, frozen)
    arrays |= {f"{prefix}/gate": gate, f"{prefix}/z": z, f"{prefix}/w": w}
    result = {}
    for normalisation in NORMALISATIONS:
        hidden, weight = case.hidden.clone().requires_grad_(), case.weight.clone().requires_grad_()
        logits = hidden @ weight.T
        logits.retain_grad()
        live_probs = torch.log_softmax(logits, -1)
        live = live_probs.gather(1, targets)[:, 0]
        factor = multipliers(case.data_weights * w, case.sample_index, samples, normalisation)
        loss = (factor * (-gate * live + objective.anchor * divergence(live_probs, before))).sum()
        theirs = published(table, live, live_probs)
        loss.backward(retain_graph=theirs is not None)
        grads = {"logits": logits.grad.clone(), "hidden": hidden.grad.clone(), "weight": weight.grad.clone()}
        arrays |= {f"{prefix}/{normalisation}/grad_{k}": v for k, v in grads.items()}
        result[normalisation] = {"loss": loss.item()}
        if theirs is not None:
            theirs = (factor * theirs).sum()
            result[normalisation]["reported_loss"] = theirs.item()
            (grad,) = torch.autograd.grad(theirs, logits)
            # Except where p underflows: there 0 · inf has no gradient.
            if not torch.allclose(torch.nan_to_num(grad), grads["logits"], atol=1e-12):
                raise ValueError(f"`{prefix}`: the gradient of the published loss is another one")
    return result


def trl_agreement(name: str, case: Case, report: dict, arrays: dict[str, Tensor]) -> dict:
    """Compares TRL's DFT loss and gradient with ours; raises if they differ."""
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
        "objectives": OBJECTIVES,
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
            f"{name}/before": case.before(),
            f"{name}/entropy": entropy(log_probs),
            f"{name}/top_entropy": eaft(1.0)(log_p, log_probs, c, None) * math.log(20),
            f"{name}/collision": collision(log_probs),
            f"{name}/top_mass": top_mass(log_probs, 2),
            f"{name}/mass_below": mass_below(Frozen(log_p, log_probs)),
            f"{name}/divergence": divergence(log_probs, torch.log_softmax(case.before(), -1)),
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
            "objectives": {k: evaluate(case, o, arrays, f"{name}/{k}") for k, o in OBJECTIVES.items()},
        }
    report["trl"] = {
        name: trl_agreement(name, case, report, arrays) for name, case in cases().items() if name in TRL_CASES
    }
    save_file({k: v.detach().contiguous() for k, v in arrays.items()}, out / "objectives.safetensors")
    (out / "objectives.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
