"""The results of transformers' logits processors for fixed logits: `sampling.json`.

Each case holds logits, the tokens seen so far, the settings, and the distribution that `generate` would draw from.
Logits are distinct, so that no cut falls between equal ones, and cuts stay away from rounding (checked here).
"""

import json
import math
from pathlib import Path

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

SEED = 5
VOCAB = 48
SETTINGS: list[dict] = [
    {},
    {"temperature": 0.3},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000},
    {"top_p": 0.05},
    {"top_p": 0.6},
    {"top_p": 0.95},
    {"min_p": 0.02},
    {"min_p": 0.3},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.4, "top_k": 12, "top_p": 0.8},
    {"temperature": 1.4, "top_k": 20, "min_p": 0.1},
    {"temperature": 0.8, "top_k": 30, "top_p": 0.97, "min_p": 0.03, "repetition_penalty": 1.2},
]


def processors(settings: dict) -> LogitsProcessorList:
    """In the order of `GenerationMixin._get_logits_processor`."""
    chosen = LogitsProcessorList()
    if "repetition_penalty" in settings:
        chosen.append(RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
    if "temperature" in settings:
        chosen.append(TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        chosen.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        chosen.append(TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        chosen.append(MinPLogitsWarper(settings["min_p"]))
    return chosen


def distribution(logits: torch.Tensor, seen: torch.Tensor, settings: dict) -> list[float]:
    """Probabilities of all tokens, zero where a token was cut."""
    return processors(settings)(seen[None], logits[None].clone())[0].double().softmax(-1).tolist()


def is_clear(logits: torch.Tensor, seen: torch.Tensor, settings: dict) -> bool:
    """Whether slightly different limits keep the same tokens."""
    kept = [p > 0 for p in distribution(logits, seen, settings)]
    for factor in (1 - 1e-4, 1 + 1e-4):
        moved = {k: v * factor if k in ("top_p", "min_p") else v for k, v in settings.items()}
        if [p > 0 for p in distribution(logits, seen, moved)] != kept:
            return False
    return True


def generate(out: Path) -> None:
    """Write the fixture."""
    generator = torch.Generator().manual_seed(SEED)
    cases = []
    for settings in SETTINGS:
        for scale in (1.0, 4.0):
            logits = torch.randn(VOCAB, generator=generator) * scale
            seen = torch.randint(0, VOCAB, (10,), generator=generator)
            assert len(set(logits.tolist())) == VOCAB and is_clear(logits, seen, settings), settings
            probabilities = distribution(logits, seen, settings)
            assert math.isclose(sum(probabilities), 1.0, abs_tol=1e-9)
            cases.append(
                {
                    "settings": settings,
                    "seen": seen.tolist(),
                    "logits": logits.tolist(),
                    "probabilities": probabilities,
                }
            )
    (out / "sampling.json").write_text(json.dumps(cases) + "\n", encoding="utf-8")
