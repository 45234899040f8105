"""Gradients of single samples in f64, by autograd, sample by sample: `probe.json`.

    G_i = (n/normaliser_i)·∇ Σ_t −g·log p,   u_i = a_i·w_i·G_i      over n samples, statistics of all of them

For each tiny checkpoint two sets of samples, and for each objective and normalisation the squared norms of G_i, the
weights w_i, the moments of u, and the cosine between the mean gradients of the two sets.
"""

import json
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from double_precision import to_f64
from objectives import NORMALISATIONS, Frozen, lengths, multipliers, scores, standardise_batch
from recipe import parse_objective

SEED = 20260909
CHECKPOINTS = ("tiny-llama-tied", "tiny-qwen3-untied")
FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
OBJECTIVES: dict[str, dict] = {
    **{
        name: {name: {}}
        for name in (
            *("nll", "dft", "cadft", "eaft", "iw-sft", "asft"),
            *("info-sft", "chord-phi", "profit", "sed-sft", "talr", "prift"),
        )
    },
    "cadft-nll": {"cadft": {"gate": "nll", "beta": 2.0}},
    "prift-mass": {"prift": {"support": "mass", "threshold": 0.3}},
}


def sample_set(model: PreTrainedModel, rng: Random, likely: list[bool]) -> list[dict]:
    """One sample for each entry, of random tokens; if `likely`, the targets are the model's predictions."""
    vocab, samples = model.config.vocab_size, []
    for is_likely in likely:
        prompt, answer = rng.randint(2, 4), rng.randint(2, 6)
        ids = [rng.randrange(vocab) for _ in range(prompt)]
        for _ in range(answer):
            with torch.no_grad():
                said = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax().item()
            ids.append(said if is_likely else rng.randrange(vocab))
        mask = [False] * prompt + [True] * answer
        samples.append({"token_ids": ids, "loss_mask": mask, "weight": rng.choice([1.0, 1.0, 0.5])})
    return samples


def log_probs_of(model: PreTrainedModel, sample: dict) -> tuple[Tensor, Tensor]:
    """log p of the trained tokens, and of all tokens at their positions."""
    ids, trained = torch.tensor([sample["token_ids"]]), torch.tensor(sample["loss_mask"])[1:]
    log_probs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0, :-1][trained], -1)
    return log_probs.gather(1, ids[0, 1:][trained][:, None])[:, 0], log_probs


def gradients(
    model: PreTrainedModel, samples: list[dict], table: dict, normalisation: str
) -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """The rows G_i, `[samples, parameters]`, the weights w_i and a_i, and the mean gate of each sample."""
    objective, _ = parse_objective(table)
    with torch.no_grad():
        parts = [log_probs_of(model, sample)[0] for sample in samples]
    n = len(samples)
    index = torch.repeat_interleave(torch.arange(n), torch.tensor([len(p) for p in parts]))
    c = scores(torch.cat(parts), index, n)
    w = objective.weights(standardise_batch(c), c, c)
    ones = multipliers(torch.ones(n, dtype=torch.float64), index, n, normalisation)
    starts = torch.cumsum(lengths(index, n), 0).long() - lengths(index, n).long()
    rows, gates = [], []
    for sample, share in zip(samples, ones[starts]):
        log_p, log_probs = log_probs_of(model, sample)
        gate = objective.gate(log_p, log_probs, c, Frozen(log_p.detach(), log_probs.detach()))
        gates.append(gate.mean().item())
        loss = (n * share * -gate * log_p).sum()
        grads = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([g.reshape(-1) for g in grads]))
    return torch.stack(rows), w, torch.tensor([s["weight"] for s in samples], dtype=torch.float64), gates


def moments(rows: Tensor, w: Tensor, a: Tensor, gates: list[float]) -> dict:
    """The expected values of one set."""
    weighted = (a * w)[:, None] * rows
    second, mean = weighted.square().sum(1).mean().item(), weighted.mean(0).norm().item()
    return {
        "weights": w.tolist(),
        "mean_gates": gates,
        "squared_norms": rows.square().sum(1).tolist(),
        "second_moment": second,
        "unweighted_second_moment": rows.square().sum(1).mean().item(),
        "mean_norm": mean,
        "signal_to_noise": mean**2 / (second - mean**2),
        "effective_sample_size": (w.sum() ** 2 / w.square().sum()).item(),
    }


def generate(out: Path) -> None:
    """Write the file under `out`."""
    report: dict = {"objectives": OBJECTIVES, "models": {}}
    for checkpoint in CHECKPOINTS:
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / checkpoint, dtype=torch.float32)
        model, rng = to_f64(model).eval(), Random(SEED)
        sets = {
            "noisy": sample_set(model, rng, [True, False, True, True, False, True]),
            "clean": sample_set(model, rng, [True, True, True, False, True]),
        }
        expected: dict = {}
        for label, table in OBJECTIVES.items():
            expected[label] = {}
            for normalisation in NORMALISATIONS:
                found = {name: gradients(model, samples, table, normalisation) for name, samples in sets.items()}
                means = [((a * w)[:, None] * rows).mean(0) for rows, w, a, _ in found.values()]
                expected[label][normalisation] = {
                    **{name: moments(*of) for name, of in found.items()},
                    "cosine": torch.nn.functional.cosine_similarity(*means, dim=0).item(),
                }
        report["models"][checkpoint] = {"sets": sets, "expected": expected}
    (out / "probe.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
