"""An independent PyTorch trainer for the golden curves: reads a recipe, writes one JSON object a step.

    python reference_trainer.py RECIPE --out METRICS.jsonl [--dtype f32|f64] [--save DIR]
    python reference_trainer.py score --model DIR --data FILE --out SCORES.jsonl

Fields, all of the global batch and before the update: `step` from 1; `loss`, the objective with its normalisation;
`nll` = Σ −log p / supervised tokens; `mean_gate` over supervised tokens, and with ASFT `mean_kl`; over samples, of the
method's weight w (the data's `weight` is in `loss` only): `mean_weight`, `ess` = (Σw)²/Σw²; `mu`, `sigma` of the
statistics used and `max_z`; `grad_norm` before clipping; `lr` of this step; `supervised` and all `tokens`.

Order: samples in file order; the last batch of an epoch may be smaller and is a global batch of its own.

Running statistics are bias-corrected moving moments of the scores c of previous global batches, decay d:

    m_t = d·m_{t−1} + (1−d)·mean_B(c)      μ = m / (1−d^t)
    v_t = d·v_{t−1} + (1−d)·mean_B(c²)     σ² = max(v / (1−d^t) − μ², 0)

Step t uses those of batches 1..t−1; the first step uses its own batch's statistics. Steps up to `start-until` (steps,
or a fraction of the run rounded up) train with plain NLL and report their own batch's `mu` and `sigma`; the running
statistics take in every step.
"""

import argparse
import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import examples
import recipe as recipes
from double_precision import to_f64
from examples import Example
from objectives import (
    NLL,
    Frozen,
    divergence,
    multipliers,
    sample_weights,
    scores,
    standardise,
    standardise_batch,
)
from optimizer import adamw, lr_factor, warmup_steps
from optimizer import step as update
from recipe import Recipe


class RunningStatistics:
    """Bias-corrected moving mean and second moment of the scores."""

    def __init__(self, decay: float) -> None:
        self.decay, self.batches, self.mean, self.square = decay, 0, 0.0, 0.0

    def observe(self, c: Tensor) -> None:
        """Add one global batch."""
        self.batches += 1
        self.mean = self.decay * self.mean + (1 - self.decay) * c.mean().item()
        self.square = self.decay * self.square + (1 - self.decay) * (c**2).mean().item()

    def mu_sigma(self) -> tuple[float, float]:
        """The corrected mean and standard deviation; needs at least one batch."""
        correction = 1 - self.decay**self.batches
        mu = self.mean / correction
        return mu, math.sqrt(max(self.square / correction - mu**2, 0.0))


def load_model(path: Path, dtype: torch.dtype) -> LlamaForCausalLM:
    """A checkpoint in `dtype`; with f64, everything is computed in f64."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").train()
    return to_f64(model) if dtype == torch.float64 else model


def distributions(model: LlamaForCausalLM, batch: list[Example]) -> tuple[Tensor, Tensor]:
    """log p of every trained token, and of all tokens at its position; padding on the right is never attended to."""
    width = max(len(e.ids) for e in batch)
    ids = torch.tensor([e.ids + [0] * (width - len(e.ids)) for e in batch])
    real = torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in batch])
    trained = torch.tensor([e.trained + [False] * (width - len(e.ids)) for e in batch])[:, 1:]
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, :-1][trained]
    log_probs = torch.log_softmax(logits, -1)
    return log_probs.gather(1, ids[:, 1:][trained][:, None])[:, 0], log_probs


def log_likelihoods(model: LlamaForCausalLM, batch: list[Example]) -> Tensor:
    """log p of every trained token, samples one after the other."""
    return distributions(model, batch)[0]


def global_batches(samples: list[Example], size: int) -> Iterator[list[Example]]:
    """Batches in file order, epoch after epoch, without end."""
    while True:
        for start in range(0, len(samples), size):
            yield samples[start : start + size]


def micro_batches(batch: list[Example], size: int) -> Iterator[tuple[int, list[Example]]]:
    """Slices of a batch with the index of their first sample."""
    for start in range(0, len(batch), size):
        yield start, batch[start : start + size]


class Trainer:
    """One run of a recipe."""

    def __init__(self, recipe: Recipe, model: LlamaForCausalLM, samples: list[Example]) -> None:
        self.recipe, self.model, self.samples = recipe, model, samples
        self.optimizer = adamw(model, recipe.lr, recipe.betas, recipe.eps, recipe.weight_decay)
        self.running = RunningStatistics(recipe.decay)
        self.before = self.frozen() if recipe.objective.looks_back else None

    def frozen(self) -> LlamaForCausalLM:
        """The model as it is now."""
        return copy.deepcopy(self.model).requires_grad_(False)

    def standardised(self, c: Tensor, running: bool) -> tuple[Tensor, float, float]:
        """z of each sample, and the statistics used for it."""
        if running and self.running.batches > 0:
            mu, sigma = self.running.mu_sigma()
            return standardise(c, mu, sigma), mu, sigma
        return standardise_batch(c), c.mean().item(), c.std(unbiased=False).item()

    def step(self, k: int, batch: list[Example]) -> dict:
        """Score the global batch, then accumulate the weighted gradients of its micro-batches and update."""
        r, n = self.recipe, len(batch)
        objective = NLL if k <= warmup_steps(r.start_until, r.steps) else r.objective
        if objective.every > 0 and (k - 1 - warmup_steps(r.start_until, r.steps)) % objective.every == 0:
            self.before = self.frozen()
        index = torch.repeat_interleave(torch.arange(n), torch.tensor([e.supervised for e in batch]))
        parts = list(micro_batches(batch, r.micro_batch))
        with torch.no_grad():
            log_p, log_probs = map(torch.cat, zip(*(distributions(self.model, part) for _, part in parts)))
            if self.before is not None:
                log_p_before, before = map(torch.cat, zip(*(distributions(self.before, part) for _, part in parts)))
        q = Frozen(log_p_before.double(), before.double()) if self.before is not None else None
        c = scores(log_p, index, n)
        z, mu, sigma = self.standardised(c, r.running and objective is r.objective)
        self.running.observe(c)
        w = objective.weights(z, c, scores(log_p_before, index, n) if objective.looks_back else None)
        data_weights = torch.tensor([e.weight for e in batch], dtype=torch.float64)
        factors = multipliers(data_weights * w, index, n, r.normalisation)
        gates, loss = objective.gate(log_p.double(), log_probs.double(), c, q), 0.0
        for start, part in parts:
            live, live_probs = distributions(self.model, part)
            mine = (index >= start) & (index < start + len(part))
            of_live = gates[mine].to(live.dtype) if objective.looks_at_tokens else objective.gate(live, live_probs, c)
            tokens = -of_live * live
            if objective.anchor > 0.0:
                tokens = tokens + objective.anchor * divergence(live_probs, before[mine])
            partial = (factors[mine].to(live.dtype) * tokens).sum()
            partial.backward()
            loss += partial.item()
        lr = r.lr * lr_factor(r.schedule, k, warmup_steps(r.warmup, r.steps), r.steps)
        norm = update(self.model, self.optimizer, lr, r.clip)
        return {
            "step": k,
            "loss": loss,
            "nll": -log_p.double().mean().item(),
            "mean_gate": gates.mean().item(),
            **({"mean_kl": divergence(log_probs, before).mean().item()} if objective.anchor > 0.0 else {}),
            "mean_weight": w.mean().item(),
            "ess": (w.sum() ** 2 / (w**2).sum()).item(),
            "mu": mu,
            "sigma": sigma,
            "max_z": z.max().item(),
            "grad_norm": norm,
            "lr": lr,
            "supervised": index.numel(),
            "tokens": sum(len(e.ids) for e in batch),
        }

    def run(self) -> Iterator[dict]:
        """Metrics of every step."""
        batches = global_batches(self.samples, self.recipe.global_batch)
        for k in range(1, self.recipe.steps + 1):
            yield self.step(k, next(batches))


def score(model: LlamaForCausalLM, samples: list[Example], beta: float = 1.0) -> list[dict]:
    """Score of every sample; z and weight against the statistics of all of them."""
    with torch.no_grad():
        nll = torch.tensor([-log_likelihoods(model, [e]).double().mean().item() for e in samples], dtype=torch.float64)
    z = standardise_batch(nll)
    columns = zip(samples, nll.tolist(), z.tolist(), sample_weights(z, beta).tolist())
    return [
        {"id": e.id, "tokens": len(e.ids), "supervised": e.supervised, "nll": c, "z": zi, "weight": wi}
        for e, c, zi, wi in columns
    ]


def train(recipe_path: Path, dtype: torch.dtype) -> tuple[list[dict], LlamaForCausalLM]:
    """Run a recipe; its metrics and the trained model."""
    recipe = recipes.load(recipe_path)
    samples = examples.load(recipe.train, AutoTokenizer.from_pretrained(recipe.model), recipe.max_length)
    trainer = Trainer(recipe, load_model(recipe.model, dtype), samples)
    return list(trainer.run()), trainer.model


def score_file(model_dir: Path, data: Path) -> list[dict]:
    """`score` of a JSONL file by a checkpoint in f32."""
    samples = examples.load([data], AutoTokenizer.from_pretrained(model_dir), 2048)
    return score(load_model(model_dir, torch.float32).eval(), samples)


def write_jsonl(path: Path, rows: list[dict]) -> None:
    """One object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="a recipe, or the word `score`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=["f32", "f64"], default="f32")
    parser.add_argument("--save", type=Path, help="where the trained model goes")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "score":
        write_jsonl(args.out, score_file(args.model, args.data))
        return
    rows, model = train(Path(args.what), {"f32": torch.float32, "f64": torch.float64}[args.dtype])
    write_jsonl(args.out, rows)
    if args.save is not None:
        model.save_pretrained(args.save)


if __name__ == "__main__":
    main()
