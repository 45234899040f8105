"""A 40-step golden curve of CADFT with a fifth of incompatible samples, in f32, and in f64 to show the drift of f32.

model/, train.jsonl, recipe.toml, expected.jsonl (f32), expected.f64.jsonl
"""

from pathlib import Path
from random import Random

import torch

import pretrained
import reference_trainer
import word_problems
from blackbox import chat

SEED = 7
RECIPE = """\
[model]
path = "model"
precision = "f32"

[data]
train = ["train.jsonl"]
max-length = 512
order = "sequential"
mask = "assistant"

[batch]
global = 16
micro = 4

[objective.cadft]
beta = 1.0
statistics = "exact"

[optimizer]
lr = 5e-4
betas = [0.9, 0.95]
weight-decay = 0.01
eps = 1e-8
clip = 1.0

[schedule]
kind = "cosine"
warmup = 0.1
steps = 40

[run]
seed = 7
out = "run"
"""


def generate(out: Path) -> None:
    """Write `curve/` under `out`."""
    folder, rng = out / "curve", Random(SEED)
    seen: set[str] = set()
    train = word_problems.spoil_fraction(rng, word_problems.distinct(rng, 150, seen), 0.2)
    base = [chat(str(i), p) for i, p in enumerate(word_problems.distinct(rng, 800, seen))]
    pretrained.write(folder / "model", base, pretrained.config(400, 48, 3, tied=False), SEED, 300)
    rows = [chat(f"{kind}-{i:03}", p) for i, (kind, p) in enumerate(train)]
    reference_trainer.write_jsonl(folder / "train.jsonl", rows)
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    for dtype, name in ((torch.float32, "expected.jsonl"), (torch.float64, "expected.f64.jsonl")):
        metrics, _ = reference_trainer.train(folder / "recipe.toml", dtype)
        reference_trainer.write_jsonl(folder / name, metrics)
