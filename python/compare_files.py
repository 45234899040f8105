"""Whether a regenerated fixture equals the committed one: bytes first, then numbers within a tolerance."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

# Relative to the largest magnitude of a tensor, or of a number in a text file.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
TEXT_TOLERANCE = 2e-4


def difference(committed: Path, fresh: Path) -> str | None:
    """`None` if the files agree, otherwise the first difference."""
    if committed.read_bytes() == fresh.read_bytes():
        return None
    if committed.suffix == ".safetensors":
        return tensors_differ(load_file(committed), load_file(fresh))
    if committed.suffix in (".json", ".jsonl"):
        return rows_differ(parse(committed), parse(fresh), "")
    return "text differs"


def parse(path: Path) -> object:
    """The value of a JSON file, or the list of a JSONL file's."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def tensors_differ(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> str | None:
    """Compare two safetensors files by name, shape, dtype and value."""
    if a.keys() != b.keys():
        return f"tensor names differ: {sorted(a.keys() ^ b.keys())[:4]}"
    for name, left in a.items():
        right = b[name]
        if left.shape != right.shape or left.dtype != right.dtype:
            return f"`{name}` changed its shape or dtype"
        if left.dtype in TOLERANCE:
            scale = max(left.abs().max().item(), 1e-6)
            error = (left - right).abs().max().item() / scale
            if not error <= TOLERANCE[left.dtype]:
                return f"`{name}` differs by {error:.2e} relative"
        elif not torch.equal(left, right):
            return f"`{name}` differs"
    return None


def rows_differ(a: object, b: object, where: str) -> str | None:
    """Compare two JSON values; floats within `TEXT_TOLERANCE`."""
    if isinstance(a, float) and isinstance(b, (int, float)):
        return None if abs(a - b) <= TEXT_TOLERANCE * max(abs(a), 1e-3) else f"`{where}`: {a} against {b}"
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        pairs = [(f"{where}.{k}", a[k], b[k]) for k in a]
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = [(f"{where}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b))]
    else:
        return None if a == b else f"`{where}`: {a!r} against {b!r}"
    return next((d for w, x, y in pairs if (d := rows_differ(x, y, w))), None)
